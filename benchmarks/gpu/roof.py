"""The card's own limits: read bandwidth, copy bandwidth, matrix rate, and the cost of a graph node."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .graph import milliseconds, replayed_ms
from .world import DEVICE


@triton.jit
def read_kernel(x, out, BLOCK: tl.constexpr, TURNS: tl.constexpr):
    """Sum TURNS blocks a program."""
    program = tl.program_id(0)
    acc = tl.zeros((BLOCK,), tl.float32)
    for turn in range(TURNS):
        acc += tl.load(x + (program * TURNS + turn).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)).to(tl.float32)
    tl.store(out + program, tl.sum(acc, 0))


def limits() -> dict[str, float | str]:
    """Measured on the current device; random data throughout."""
    count = 1 << 31
    data = torch.empty(count, dtype=torch.bfloat16, device=DEVICE).normal_()
    sums, block, turns = torch.empty(count // 8192, device=DEVICE), 8192, 8
    read = milliseconds(
        lambda: read_kernel[(count // block // turns,)](data, sums, BLOCK=block, TURNS=turns, num_warps=8)
    )
    half = data[: count // 2]
    other = data[count // 2 :]
    copy = milliseconds(lambda: other.copy_(half))
    a, b = (torch.empty(8192, 8192, dtype=torch.bfloat16, device=DEVICE).normal_() for _ in "ab")
    product = milliseconds(lambda: a @ b)
    tiny = torch.zeros(8, device=DEVICE)
    nodes = replayed_ms(lambda: [tiny.add_(1) for _ in range(200)])
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "read_TBs": count * 2 / read / 1e9,
        "copy_TBs": count * 2 / copy / 1e9,
        "matmul_TFLOPs": 2 * 8192**3 / product / 1e9,
        "graph_node_us": nodes / 200 * 1e3,
    }
