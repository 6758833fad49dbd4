"""The safetensors files of a directory as one mapping of weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from ..registry import Weight
from .checked import Stored
from .errors import CheckpointError, MissingTensorError
from .files import inside, read_json
from .safetensors import SafetensorsFile
from .transfer import Transfer

_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Shards(Stored):
    """Dense weights of a directory, converted to `dtype` when looked up and not kept.

    Of the same dtype and on the CPU they are views of the mapped files: nothing may write to them. Integer tensors
    keep their dtype. For a GPU all are read ahead, from the moment that it is named.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = {name: SafetensorsFile(inside(directory, name)) for name in _shard_names(directory)}
        self.names = self._homes = self._find_homes()
        self.dtype: torch.dtype | None = None
        self.device = torch.device("cpu")
        self._ahead: Transfer | None = None

    def to(self, dtype: torch.dtype, device: torch.device) -> Shards:
        """Say in which dtype and where weights are wanted."""
        self.dtype, self.device = dtype, device
        if device.type != "cpu":
            self._ahead = Transfer({name: home.place(name) for name, home in self._homes.items()}, device)
        return self

    @property
    def stored_dtype(self) -> torch.dtype:
        """The dtype of most tensors."""
        counts = Counter(
            e.dtype for file in self.files.values() for e in file.entries.values() if e.dtype.is_floating_point
        )
        if not counts:
            raise CheckpointError(f"{self.directory}: the safetensors files hold no weights")
        return counts.most_common(1)[0][0]

    def __getitem__(self, name: str) -> Weight:
        if name not in self._homes:
            raise MissingTensorError(f"{self.directory}: tensor {name} is missing")
        tensor = self._read(name)
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    def stored(self, name: str) -> Tensor:
        """A known tensor on the device, in the dtype of the file."""
        return self._read(name).to(self.device)

    def dtype_of(self, name: str) -> torch.dtype:
        """A known tensor's dtype in the file."""
        return self._homes[name].entries[name].dtype

    def _read(self, name: str) -> Tensor:
        if self._ahead is None or name not in self._ahead:
            return self._homes[name].read(name)
        entry = self._homes[name].entries[name]
        return self._ahead.take(name).view(entry.dtype).view(entry.shape)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._homes[name].entries[name].shape

    def _find_homes(self) -> dict[str, SafetensorsFile]:
        homes: dict[str, SafetensorsFile] = {}
        for file in self.files.values():
            for name in file.entries:
                if name in homes:
                    raise CheckpointError(f"{file.path}: tensor {name} is also in {homes[name].path.name}")
                homes[name] = file
        return homes


def _shard_names(directory: Path) -> list[str]:
    if (directory / _INDEX).is_file():
        table = read_json(directory, _INDEX).get("weight_map")
        if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
            raise CheckpointError(f"{directory / _INDEX}: weight_map names no files")
        return sorted(set(table.values()))
    names = sorted(path.name for path in directory.glob("*.safetensors") if not path.name.startswith("consolidated"))
    if names:
        return names
    if any(path for pattern in _PICKLES for path in directory.glob(pattern)):
        raise CheckpointError(f"{directory}: its weights are pickles, which are not read; convert them to safetensors")
    raise CheckpointError(f"{directory}: there are no .safetensors files")
