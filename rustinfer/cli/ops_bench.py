"""`rustinfer ops bench`: each back end's kernel for an op, at one size, beside what the device can do."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..device import short_of_memory
from ..engine.build import on_device
from ..engine.options import Options
from ..errors import Refused, UserError
from ..flags import DEVICES, DTYPES, QUANTIZATIONS
from ..registry import REFERENCE, Target, UnknownOpError, load_plugins
from ..roofline import Roof, roof
from ..stopwatch import seconds
from . import output
from .ops_workload import WORKLOADS, Maker, Workload
from .parser import examples

if TYPE_CHECKING:
    from ..registry import Op, Registry

COLUMNS = ("back end", "us", "GB/s", "TFLOP/s", "of the roof", "")
SPREAD = {"cuda": 512 << 20, "cpu": 128 << 20}  # bytes over which calls are spread, so that no cache holds them


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("op", metavar="OP", help=f"one of {', '.join(sorted(WORKLOADS))}")
    parser.add_argument("--shape", default="", metavar="SIZES", help="such as rows=8,columns=2048,outputs=8192")
    parser.add_argument("--dtype", choices=DTYPES[1:], default="bfloat16", help="default: bfloat16")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: the GPU if there is one")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, help="pack the weight")
    parser.add_argument("--mixed", action="store_true", help="bind for any step instead of one row a sequence")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.epilog = examples(
        "rustinfer ops bench linear --shape rows=8,columns=8192,outputs=2048",
        "rustinfer ops bench attention --shape sequences=64,context=512",
        "rustinfer ops bench attention --shape rows=2048,context=2048 --mixed",
        "rustinfer ops bench gate_up_silu --quantization int4 --device cpu",
    )


def run(args: Namespace) -> int:
    registry = load_plugins().registry
    if args.op not in WORKLOADS or args.op not in registry.ops:
        raise UnknownOpError(f"ops bench {args.op}: there is no workload for it; there is for {', '.join(WORKLOADS)}")
    sizes = parse(args.op, args.shape)
    device, dtype = torch.device(on_device(Options(device=args.device)).device), getattr(torch, args.dtype)
    try:
        made = spread(args.op, sizes, Maker(dtype, device, args.quantization))
    except (RuntimeError, MemoryError) as error:
        if not short_of_memory(error):
            raise
        raise Refused(f"{args.op} {sizes} takes more memory than there is") from None
    rows = sizes["rows"] * sizes.get("sequences", 1)
    target = Target.of(device, torch.float32 if args.op in ("argmax", "sample") else dtype)
    limits = roof(device, dtype)
    results = list(
        measure(registry, registry.ops[args.op], target if args.mixed else target.decoding(rows), made, limits)
    )
    if args.json:
        output.as_json({"op": args.op, "sizes": sizes, "target": str(target), **vars(limits), "results": results})
        return 0
    output.table(COLUMNS, [cells(result) for result in results], title=f"{args.op} {sizes} on {target}")
    print(f"the roof, measured here: {limits.bandwidth / 1e9:.0f} GB/s, {limits.rate / 1e12:.2f} TFLOP/s")
    return 0


def parse(op: str, text: str) -> dict[str, int]:
    """`rows=8,columns=64` over the op's default sizes. Raises UserError for a size that the op does not have."""
    parameters = list(inspect.signature(WORKLOADS[op]).parameters.values())[1:]
    sizes = {p.name: int(p.default) for p in parameters}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in sizes or not value.isdecimal() or len(value) > 9 or int(value) < 1:
            known = ", ".join(f"{n}={v}" for n, v in sizes.items())
            raise UserError(f"--shape {part}: write NAME=NUMBER; the sizes of {op} are {known}")
        sizes[name] = int(value)
    return sizes


def spread(op: str, sizes: Mapping[str, int], maker: Maker) -> list[Workload]:
    """As many workloads as it takes to leave the caches behind, 64 at most."""
    first = WORKLOADS[op](maker, **sizes)
    count = min(max(int(SPREAD[maker.device.type] // max(first.nbytes, 1)), 1), 64)
    return [first, *(WORKLOADS[op](maker, **sizes) for _ in range(count - 1))]


def measure(registry: Registry, op: Op, target: Target, made: list[Workload], limits: Roof) -> Iterator[dict[str, Any]]:
    """One result a back end that has a kernel: its figures, or why it refuses; the reference comes last."""
    first = made[0]
    for kernel in registry.kernels(op):
        missing = registry.backends[kernel.backend].missing()
        if reason := missing or kernel.refusal(target, op.complete(dict(first.bound))):
            yield {"back end": kernel.backend, "refusal": reason}
            continue
        built = [kernel.build(target, **op.complete(dict(w.bound))) for w in made]
        calls = [partial(call, *w.flow) for call, w in zip(built, made, strict=True)]
        took = seconds(calls, target.device, capturable=kernel.capturable)
        yield figures(kernel.backend, took, first, limits)
    calls = [partial(op.reference, *w.flow, **w.bound) for w in made]
    yield figures(REFERENCE, seconds(calls, target.device, capturable=False), first, limits)


def figures(name: str, took: float, work: Workload, limits: Roof) -> dict[str, Any]:
    share = limits.floor(work.nbytes, work.flops) / took
    return {"back end": name, "us": took * 1e6, "GB/s": work.nbytes / took / 1e9,
            "TFLOP/s": work.flops / took / 1e12, "of the roof": share}  # fmt: skip


def cells(result: Mapping[str, Any]) -> tuple[str, ...]:
    if "refusal" in result:
        return (result["back end"], "", "", "", "", f"refuses: {result['refusal']}")
    numbers = f"{result['us']:.1f}", f"{result['GB/s']:.0f}", f"{result['TFLOP/s']:.2f}", f"{result['of the roof']:.0%}"
    return (result["back end"], *numbers, "")
