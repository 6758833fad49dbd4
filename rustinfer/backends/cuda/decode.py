"""One token through a whole decoder in one launch: see docs/notes/decode-step.md and kernels/decode.cu."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from math import log2
from typing import Any, Literal, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ... import ops
from ...ops.decode import Caches
from ...ops.decode import Decoder as Bound
from ...registry import INT4, INT8, PackedWeight, Refusal, Requires, Target, Weight
from ...registry.op import Function
from . import nvrtc
from .arguments import MATRICES, arguments_type, point, point_layers
from .backend import cuda
from .driver import Function as Launchable
from .fault import explained
from .plan import TURNS, Plan

BF16 = torch.bfloat16
MOST_ROWS = 8
NORMS: tuple[Literal["norm", "mlp_norm"], ...] = ("norm", "mlp_norm")
BIASES: tuple[Literal["qkv_bias", "out_bias"], ...] = ("qkv_bias", "out_bias")
PAGE = 16
MARKS = 80  # moments of a layer that a block tells of, where it is asked to
MULTIPROCESSORS = 132  # to judge a shape by, before it is known which GPU it is for


def shape(bound: Bound, rows: int, blocks: int, page: int = PAGE) -> Plan:
    """The plan for what is bound."""
    first = bound["layers"][0]
    heads, kv_heads, dim = bound["heads"], bound["kv_heads"], 2 * bound["cos"].shape[1]
    width, hidden = first["down"].shape
    fitting, vocab = next(size for size in (1, 2, 4, 8) if size >= rows), bound["head"].shape[0]
    ends = bits(bound["head"]) or 16, bits(bound["embedding"]) or 16
    model = (width, hidden, heads, kv_heads, dim, len(bound["layers"]), vocab)
    return Plan(*model, page, fitting, blocks, bits(first["down"]) or 16, *ends)


def bits(weight: Weight) -> int | None:
    """How many a number of a matrix has, or None for a form that the kernel does not read."""
    if not isinstance(weight, PackedWeight):
        return 16 if weight.dtype == BF16 and weight.is_contiguous() else None
    parts = (weight.data, weight.scales, weight.zeros)
    if weight.dtype != BF16 or not all(part is None or part.is_contiguous() for part in parts):
        return None
    if weight.format == INT8 and weight.group == weight.shape[1] and weight.zeros is None:
        return 8 if weight.scales.dtype == torch.float32 else None
    zeros = weight.zeros is not None and weight.zeros.dtype == torch.float16
    return (
        4 if weight.format == INT4 and weight.group == 64 and zeros and weight.scales.dtype == torch.float16 else None
    )


def refusal(given: Mapping[str, Any]) -> Refusal:
    """Why the kernel cannot run this decoder, or None."""
    bound: Bound = given["decoder"]
    if bound["window"]:
        return "attends to everything, not to a sliding window"
    if not bound["layers"]:
        return "needs at least one layer"
    if any(layer[bias] is not None for layer in bound["layers"] for bias in BIASES):
        return "has no biases"
    norms = [bound["norm"], *(layer[norm] for layer in bound["layers"] for norm in NORMS)]
    if any(bits(norm) != 16 for norm in norms):
        return "reads contiguous bfloat16 norms"
    stored = {bits(layer[name]) for layer in bound["layers"] for name in MATRICES}  # type: ignore[literal-required]
    ends = {bits(bound["head"]), bits(bound["embedding"])}
    if None in stored | ends:
        return "reads weights in bfloat16, int8 with a scale a row, and int4 with scales and zeros for groups of 64"
    if len(stored) > 1:
        return "reads layers whose weights are all packed alike"
    if 4 in ends:
        return "reads an embedding and a head of 8 or 16 bits, not of 4"
    return shape(bound, MOST_ROWS, MULTIPROCESSORS).refusal()


class Decoder:
    """The kernel for one decoder and page size, with its scratch; calls share the scratch and so run one by one.

    A call launches it with tensors by the names of the kernel's argument: for logits, or for `count` tokens.
    """

    def __init__(self, plan: Plan, target: Target, bound: Bound) -> None:
        self.plan, device = plan, target.device
        binary = nvrtc.compiled("decode.cu", plan.defines, target.sm or (9, 0))
        self.function = Launchable(binary.code, "decode", plan.threads, plan.shared)
        self.argument: Any = arguments_type(plan.layers)()
        self.scratch = scratch(plan, device)
        point(self.argument, self.scratch)
        weights = {"embedding": bound["embedding"], "norm": bound["norm"], "head": bound["head"]}
        point(self.argument, weights | {"cosines": bound["cos"], "sines": bound["sin"]})
        point_layers(self.argument, cast("Sequence[Mapping[str, Weight | None]]", bound["layers"]))
        self.argument.eps = bound["eps"]
        self.argument.scale = plan.dim**-0.5 * log2(2.718281828459045)
        self.kept = bound  # the kernel has their addresses
        self._error = ctypes.c_int64.from_address(self.scratch["host_error"].data_ptr())

    def __call__(self, flow: dict[str, Tensor], caches: Caches, count: int = 0) -> None:
        point(self.argument, flow)
        point_layers(self.argument, [{"keys": keys, "values": values} for keys, values in caches])
        self.argument.rows, self.argument.pages_stride = len(flow["tokens"]), flow["pages"].stride(0)
        self.argument.count = count
        beside = {"cluster": self.plan.paired} if self.plan.paired > 1 else {}
        self.function.launch(self.plan.blocks, self.argument, cooperative=True, **beside)

    def fault(self) -> str | None:
        """What a launch reported that gave up, with the shapes; from the host's memory."""
        code, plan = self._error.value, self.plan
        shapes = f"up to {plan.rows} rows, {plan.layers} layers of width {plan.width}, pages of {plan.page}"
        return f"{explained(code)} ({shapes})" if code else None


KNOWN: WeakValueDictionary[tuple[int, int, int, int], Decoder] = WeakValueDictionary()
"""Decoders by what they are for: one token and several take the same kernel, and its scratch."""


class Decoders:
    """A decoder for each page size, the usual one compiled while the model is built."""

    def __init__(self, target: Target, bound: Bound, page: int = PAGE) -> None:
        self._target, self._bound = target, bound
        self._blocks = torch.cuda.get_device_properties(target.device).multi_processor_count
        self._made: dict[int, Decoder] = {}
        self.decoder(page)

    def decoder(self, page: int) -> Decoder:
        """The one for pages of this size."""
        if page not in self._made:
            plan = shape(self._bound, self._target.rows or MOST_ROWS, self._blocks, page)
            key = id(self._bound), plan.rows, plan.blocks, page  # a decoder keeps what it is bound to
            known = KNOWN.get(key)
            self._made[page] = KNOWN[key] = known or Decoder(plan, self._target, self._bound)
        return self._made[page]

    def fault(self) -> str | None:
        """What a kernel reported that gave up, or None."""
        return next(filter(None, (decoder.fault() for decoder in self._made.values())), None)


class Steps(Decoders):
    """What the model calls for one token of each sequence."""

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
        shape = len(tokens), self._bound["head"].shape[0]
        logits = torch.empty(shape, dtype=torch.float32, device=tokens.device)
        flow = {"tokens": tokens, "positions": positions, "slots": slots, "lengths": lengths, "pages": pages}
        if len(tokens):
            self.decoder(caches[0][0].shape[2])({**flow, "logits": logits}, caches)
        return logits


class Runs(Decoders):
    """What it calls for some tokens of each, in launches of so many as a launch may take."""

    def __call__(
        self,
        tokens: Tensor,
        newest: Tensor,
        begin: Tensor,
        temperature: Tensor,
        seeds: Tensor,
        pages: Tensor,
        told: Tensor,
        stop: Tensor,
        caches: Caches,
    ) -> None:
        flow = {"tokens": tokens, "newest": newest, "begin": begin, "temperature": temperature, "seeds": seeds}
        flow |= {"pages": pages, "stop": stop}
        decoder = self.decoder(caches[0][0].shape[2])
        for first in range(0, len(told) if len(tokens) else 0, decoder.plan.tokens):
            part = told[first : first + decoder.plan.tokens]
            decoder({**flow, "told": part}, caches, len(part))


def scratch(plan: Plan, device: torch.device) -> dict[str, Tensor]:
    """What the blocks tell each other, in parts that take turns. -1: not there yet."""
    marks = plan.blocks * (plan.layers + 1) * MARKS if plan.tuned.get("MARKS") else 1
    error = torch.zeros(1, dtype=torch.int64)
    return {
        "exchange": torch.full((TURNS, plan.layers, plan.exchange), -1, dtype=torch.int32, device=device),
        "winners": torch.full((TURNS, plan.winners), -1, dtype=torch.int32, device=device),
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
def decode_step(target: Target, *, decoder: Bound) -> Function:
    """A block on every multiprocessor, with weights that stream through it whatever the blocks wait for."""
    return Steps(target, decoder)


@cuda.kernel(
    ops.decode_tokens,
    build=True,
    requires=Requires("cuda", frozenset({BF16}), min_sm=(9, 0), max_rows=MOST_ROWS, decode=True),
    when=refusal,
)
def decode_tokens(target: Target, *, decoder: Bound, page_size: int) -> Function:
    """The same kernel, which draws in its head and goes on with what it drew."""
    return Runs(target, decoder, page_size)
