"""One token through a whole decoder in one launch: see docs/notes/decode-step.md and kernels/decode.cu."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...ops.decode import Caches, LayerWeights
from ...registry import Refusal, Requires, Target, Weight
from ...registry.op import Function
from . import nvrtc
from .arguments import arguments_type, point, point_layers
from .backend import cuda
from .driver import Function as Launchable
from .fault import explained
from .plan import Plan

BF16 = torch.bfloat16
MOST_ROWS = 8
PAGE = 16
MULTIPROCESSORS = 132  # to judge a shape by, before it is known which GPU it is for


def shape(bound: Mapping[str, Any], rows: int, blocks: int, page: int = PAGE) -> Plan:
    """The plan for what is bound."""
    first = bound["layers"][0]
    heads, kv_heads, dim = bound["heads"], bound["kv_heads"], 2 * bound["cos"].shape[1]
    width, hidden = first["down"].shape
    fitting = next(size for size in (1, 2, 4, 8) if size >= rows)
    return Plan(width, hidden, heads, kv_heads, dim, len(bound["layers"]), page, fitting, blocks)


def refusal(bound: Mapping[str, Any]) -> Refusal:
    """Why the kernel cannot run this decoder, or None."""
    if bound["window"]:
        return "attends to everything, not to a sliding window"
    if not bound["layers"]:
        return "needs at least one layer"
    weights = [bound["embedding"], bound["norm"]]
    for layer in bound["layers"]:
        if layer["qkv_bias"] is not None or layer["out_bias"] is not None:
            return "has no biases"
        weights += [weight for weight in layer.values() if weight is not None]
    if any(not isinstance(weight, Tensor) for weight in weights):
        return "reads dense weights, not packed ones"
    if any(weight.dtype != BF16 or not weight.is_contiguous() for weight in weights):
        return "reads contiguous bfloat16 weights"
    return shape(bound, MOST_ROWS, MULTIPROCESSORS).refusal()


class Decoder:
    """The kernel for one decoder and page size, with its scratch; calls share the scratch and so run one by one."""

    def __init__(self, plan: Plan, target: Target, bound: Mapping[str, Any]) -> None:
        self.plan, device = plan, target.device
        binary = nvrtc.compiled("decode.cu", plan.defines, target.sm or (9, 0))
        self.function = Launchable(binary.code, "decode", plan.threads, plan.shared)
        self.argument: Any = arguments_type(plan.layers)()
        self.scratch = scratch(plan, device)
        point(self.argument, self.scratch)
        weights = {"embedding": bound["embedding"], "norm": bound["norm"]}
        point(self.argument, weights | {"cosines": bound["cos"], "sines": bound["sin"]})
        point_layers(self.argument, bound["layers"])
        self.argument.eps = bound["eps"]
        self.argument.scale = plan.dim**-0.5 * log2(2.718281828459045)
        self.kept = bound  # the kernel has their addresses
        self._error = ctypes.c_int64.from_address(self.scratch["host_error"].data_ptr())

    def __call__(
        self, tokens: Tensor, positions: Tensor, slots: Tensor, lengths: Tensor, pages: Tensor, caches: Caches
    ) -> Tensor:
        result = torch.empty((len(tokens), self.plan.width), dtype=BF16, device=tokens.device)
        flow = {"tokens": tokens, "positions": positions, "slots": slots, "lengths": lengths, "pages": pages}
        point(self.argument, flow | {"result": result})
        point_layers(self.argument, [{"keys": keys, "values": values} for keys, values in caches])
        self.argument.rows, self.argument.pages_stride = len(tokens), pages.stride(0)
        self.function.launch(self.plan.blocks, self.argument, cooperative=True)
        return result

    def fault(self) -> str | None:
        """What a launch reported that gave up, with the shapes; from the host's memory."""
        code, plan = self._error.value, self.plan
        shapes = f"up to {plan.rows} rows, {plan.layers} layers of width {plan.width}, pages of {plan.page}"
        return f"{explained(code)} ({shapes})" if code else None


class Steps:
    """What the model calls: a decoder for each page size, the usual one compiled while the model is built."""

    def __init__(self, target: Target, bound: Mapping[str, Any]) -> None:
        self._target, self._bound = target, bound
        self._blocks = torch.cuda.get_device_properties(target.device).multi_processor_count
        self._made: dict[int, Decoder] = {}
        self._decoder(PAGE)

    def _decoder(self, page: int) -> Decoder:
        if page not in self._made:
            plan = shape(self._bound, self._target.rows or MOST_ROWS, self._blocks, page)
            self._made[page] = Decoder(plan, self._target, self._bound)
        return self._made[page]

    def __call__(
        self,
        tokens: Tensor,
        positions: Tensor,
        slots: Tensor,
        query_starts: Tensor,
        lengths: Tensor,
        pages: Tensor,
        caches: Caches,
    ) -> Tensor:
        if not len(tokens):
            return tokens.new_empty((0, self._bound["embedding"].shape[1]), dtype=BF16)
        return self._decoder(caches[0][0].shape[2])(tokens, positions, slots, lengths, pages, caches)

    def fault(self) -> str | None:
        """What a kernel reported that gave up, or None."""
        return next(filter(None, (decoder.fault() for decoder in self._made.values())), None)


def scratch(plan: Plan, device: torch.device) -> dict[str, Tensor]:
    """What the blocks tell each other, twice: a launch uses one half and clears the other. -1: not there yet."""
    marks = plan.blocks * (plan.layers + 1) * 16 if plan.tuned.get("MARKS") else 1
    error = torch.zeros(1, dtype=torch.int64)
    return {
        "exchange": torch.full((2, plan.layers, plan.exchange), -1, dtype=torch.int32, device=device),
        "epoch": torch.zeros(1, dtype=torch.int32, device=device),
        "error": torch.zeros(1, dtype=torch.int64, device=device),
        "host_error": error.pin_memory() if device.type == "cuda" else error,
        "marks": torch.zeros(marks, dtype=torch.int64, device=device),
    }


@cuda.kernel(
    ops.decode_step,
    build=True,
    requires=Requires("cuda", frozenset({BF16}), min_sm=(9, 0), max_rows=MOST_ROWS, decode=True),
    when=refusal,
)
def decode_step(
    target: Target,
    *,
    embedding: Weight,
    layers: Sequence[LayerWeights],
    norm: Tensor,
    eps: float,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
    window: int = 0,
) -> Function:
    """A block on every multiprocessor, with weights that stream through it whatever the blocks wait for."""
    bound = {"embedding": embedding, "layers": layers, "norm": norm, "eps": eps, "cos": cos, "sin": sin}
    bound |= {"heads": heads, "kv_heads": kv_heads, "window": window}
    return Steps(target, bound)
