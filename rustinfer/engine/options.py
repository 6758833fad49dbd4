"""What one may ask of an engine, and the command-line flags for it, shared by every command that starts one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import flags
from ..errors import UserError
from ..flags import DEVICES, DTYPES, ENGINE, QUANTIZATIONS
from ..settings import settle
from .speculation import Speculation

MOST = {
    "max_model_len": 1 << 31,
    "max_num_seqs": 1 << 16,
    "max_num_batched_tokens": 1 << 20,
    "max_num_queued_reqs": 1 << 31,
    "kv_cache_tokens": 1 << 62,
    "block_size": 1 << 12,
    "threads": 1 << 12,
}
"""Beyond these a machine would run out of memory or threads before anything could be said."""
SEQUENCES = {"cpu": 64, "cuda": 256}
TOKENS = {"cpu": 512, "cuda": 8192}
"""What a step holds where nobody asks for anything else."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Free of torch. None means: choose by the model and the machine. Token counts are prompt and answer together.

    `sequences` and `tokens` are what a step may hold, once it is known that the device is not "auto".
    """

    dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_queued_reqs: int | None = None
    kv_cache_tokens: int | None = None
    block_size: int = 16
    enable_prefix_caching: bool = True
    prefer: Sequence[str] = ()
    pins: Mapping[str, str] | None = None
    strict: bool = False
    load_format: str = "auto"
    seed: int = 0
    threads: int | None = None
    device: str = "auto"
    served_model_name: str | None = None
    gpu_memory_utilization: float = 0.92
    enforce_eager: bool = False
    quantization: str | None = None
    deterministic: bool = False
    speculative_config: str | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, known in (("dtype", DTYPES), ("quantization", QUANTIZATIONS), ("device", DEVICES)):
            value = getattr(self, name)
            if value not in known and (name, value) != ("quantization", None):
                raise UserError(f"{name} {value!r} is not known: use one of {', '.join(known)}")
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(f"{name} must be a positive integer, not {value!r}")
            if value is not None and value > most:
                raise UserError(f"{name} must be at most {most}, not {value}")
        if type(self.seed) is not int:
            raise UserError(f"seed must be an integer, not {self.seed!r}")
        prefer = (self.prefer,) if isinstance(self.prefer, str) else self.prefer
        if not isinstance(prefer, Sequence) or not all(isinstance(name, str) for name in prefer):
            raise UserError(f"prefer must name back ends, first to last, not {prefer!r}")
        object.__setattr__(self, "prefer", tuple(prefer))
        if not isinstance(self.pins or {}, Mapping):
            raise UserError(f'pins must map ops to back ends, as {{"rms_norm": "reference"}}, not {self.pins!r}')
        share = self.gpu_memory_utilization
        if type(share) not in (int, float) or not 0 < share <= 1:
            raise UserError(f"gpu_memory_utilization must be more than 0 and at most 1, not {share!r}")
        Speculation.of(self.speculative_config)
        if (self.max_num_batched_tokens or self.max_num_seqs or 0) < (self.max_num_seqs or 0):
            raise UserError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least max_num_seqs "
                f"({self.max_num_seqs}): each decoding sequence needs one token of a step"
            )

    @property
    def sequences(self) -> int:
        """The most sequences in a step."""
        return self.max_num_seqs or min(SEQUENCES[self.device], self.max_num_batched_tokens or SEQUENCES[self.device])

    @property
    def tokens(self) -> int:
        """The most tokens in a step."""
        return self.max_num_batched_tokens or max(TOKENS[self.device], self.sequences)

    @classmethod
    def of(cls, args: argparse.Namespace) -> Options:
        """The options that `add_arguments`' flags ask for, or else the environment or a file."""
        settle(args, ENGINE)
        values: dict[str, Any] = {n: v for n in cls.__dataclass_fields__ if (v := getattr(args, n, None)) is not None}
        values["prefer"] = tuple(name for group in args.prefer or () for name in group.split(",") if name)
        values["pins"] = pins(args.pin or ()) or None
        return cls(**values)


def pins(texts: Sequence[str]) -> dict[str, str]:
    """`OP=BACKEND` texts as a mapping. Raises UserError for one that has another form, or a second for the same op."""
    found: dict[str, str] = {}
    for text in texts:
        op, equals, backend = text.partition("=")
        if not (op and equals and backend):
            raise UserError(f"--pin {text}: write OP=BACKEND, for example --pin attention=reference")
        if found.setdefault(op, backend) != backend:
            raise UserError(f"--pin {op}: pinned both to {found[op]} and to {backend}")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that runs a model. One that is not given leaves `Options`' own default."""
    flags.add_arguments(parser, "engine", ENGINE)
