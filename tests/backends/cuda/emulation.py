"""The decode kernel on a CPU: built by g++ with an emulator in place of the GPU's instructions."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rustinfer.backends.cuda.arguments import arguments_type, point, point_layers
from rustinfer.backends.cuda.decode import scratch, shape
from rustinfer.backends.cuda.nvrtc import SOURCES
from rustinfer.backends.cuda.plan import Plan
from rustinfer.cache import digest
from rustinfer.registry import Case

HERE = Path(__file__).parent
CPU = torch.device("cpu")
ROUNDS = 6000  # of the scheduler, that a wait may take


def built(source: str, defines: dict[str, Any]) -> Any:
    """The function `emulate` of a source beside this file; compiled once for each set of defines and sources."""
    flags = [f"-D{name}={value}" for name, value in defines.items()]
    key = digest([*SOURCES.iterdir(), *HERE.glob("emulat*.[hc]*")], source, *flags)
    path = Path(tempfile.gettempdir()) / f"rustinfer-emulated-{key}.so"
    if not path.exists():
        compiler = shutil.which("g++")
        assert compiler, "the emulation needs g++"
        made = path.with_suffix(f".{os.getpid()}")  # another run may be making the same
        command = [compiler, "-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-w", "-shared", "-fPIC", "-Wno-psabi"]
        flags += [f"-I{HERE}", f"-I{SOURCES}"]
        subprocess.run([*command, *flags, str(HERE / source), "-o", str(made)], check=True)
        made.replace(path)
    return ctypes.CDLL(str(path)).emulate


def library(plan: Plan) -> Any:
    """The kernel for a plan, as a function."""
    loaded = built("emulated.cpp", plan.defines | {"LIMIT": ROUNDS})
    loaded.restype = ctypes.c_long
    loaded.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    return loaded


@dataclass
class Emulated:
    """A decoder of one case on `blocks` emulated multiprocessors; its scratch lives from launch to launch.

    The case is one of `decode_step`, or of `decode_tokens`.
    """

    case: Case
    blocks: int = 3
    tuned: dict[str, int] | None = None

    def __post_init__(self) -> None:
        plan = shape(self.case.bound["decoder"], len(self.case.flow[0]), self.blocks, self.case.flow[-1][0][0].shape[2])
        self.plan = Plan(**{**vars(plan), "tuned": self.tuned or {}})
        assert self.plan.refusal() is None, self.plan.refusal()
        self.scratch, self.function = scratch(self.plan, CPU), library(self.plan)

    def __call__(self, seed: int = 0, *, dropped: int = 0, blind: bool = False) -> Tensor:
        """Run a step: `dropped` loses the word of that number, `blind` waits for no other block."""
        tokens, positions, slots, _, lengths, pages, caches = self.case.flow
        logits = torch.full((len(tokens), self.plan.vocab), torch.nan)
        flow = {"tokens": tokens, "positions": positions, "slots": slots, "lengths": lengths, "pages": pages}
        self._launch({**flow, "logits": logits}, caches, 0, seed, dropped, blind)
        return logits

    def run(self, seed: int = 0, *, dropped: int = 0) -> None:
        """The same for several tokens."""
        names = ("tokens", "newest", "begin", "temperature", "seeds", "pages", "told", "stop")
        flow = dict(zip(names, self.case.flow, strict=False))
        for part in flow["told"].split(self.plan.tokens):
            self._launch({**flow, "told": part}, self.case.flow[-1], len(part), seed, dropped, False)

    def _launch(
        self, flow: dict[str, Tensor], caches: Any, count: int, seed: int, dropped: int, blind: bool
    ) -> None:  # fmt: skip
        bound = self.case.bound["decoder"]
        argument: Any = arguments_type(self.plan.layers)()
        weights = {name: bound[name] for name in ("embedding", "norm", "head")}
        point(argument, flow | weights | {"cosines": bound["cos"], "sines": bound["sin"]} | self.scratch)
        point_layers(argument, bound["layers"])
        point_layers(argument, [{"keys": keys, "values": values} for keys, values in caches])
        argument.rows, argument.pages_stride = len(flow["tokens"]), flow["pages"].stride(0)
        argument.count, argument.eps = count, bound["eps"]
        argument.scale = self.plan.dim**-0.5 * 1.4426950408889634
        self.function(ctypes.addressof(argument), seed, dropped, blind, self.plan.shared)

    def shares(self) -> Tensor:
        """What the first launch's blocks told each other of attention, as words; -1 where nothing."""
        plan = self.plan
        before = plan.rows * plan.qkv + plan.rows * (2 * plan.width + plan.mixed + plan.hidden) // 2
        return self.scratch["exchange"][0, :, before:]

    @property
    def error(self) -> int:
        """What a wait that took too long reported."""
        return int(self.scratch["host_error"])
