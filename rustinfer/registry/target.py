"""What a binding is made for (Target)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from .workspace import Workspace


@dataclass(frozen=True)
class Target:
    """The dispatch key: fixed for the life of a binding.

    `rows` is the most rows a call will carry (None: any number) and `decode` says that every sequence contributes
    exactly one row: a choice that depends on the row count is made by binding again for another target. `invariant`
    asks that what a row gives depend on that row alone, to the bit, and not on how many others there are. `workspace`
    is what the kernels built for it take their scratch from; targets that one makes of another share it.
    """

    device: torch.device
    dtype: torch.dtype
    sm: tuple[int, int] | None = None
    rows: int | None = None
    decode: bool = False
    invariant: bool = False
    workspace: Workspace = field(default_factory=Workspace, compare=False, repr=False)

    @classmethod
    def of(cls, device: torch.device | str, dtype: torch.dtype) -> Target:
        """The target for a device, with its compute capability if it is a CUDA device."""
        device = torch.device(device)
        sm = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
        return cls(device, dtype, sm)

    def decoding(self, rows: int) -> Target:
        """This target for steps of at most `rows` sequences with one row each."""
        return replace(self, rows=rows, decode=True)

    def __str__(self) -> str:
        sm = f" sm_{self.sm[0]}{self.sm[1]}" if self.sm else ""
        rows = "" if self.rows is None else f", up to {self.rows} rows"
        return f"{self.device.type}{sm} in {str(self.dtype).removeprefix('torch.')}{rows}"
