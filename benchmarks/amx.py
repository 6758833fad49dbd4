"""Both ways to multiply a prompt, where the CPU has AMX: `python -m benchmarks.amx [--output FILE]`.

For each shape, the binder's own choice for any number of rows (the back end `torch`, hence oneDNN) beside the kernel of
the back end `cpu`, which it takes for decoding: the least of calls that take turns, and each one's error against fp64.
`implementation` is what oneDNN says it ran. Exits with 1 where AMX is there and was not used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rustinfer.backends.cpu import amx
from rustinfer.cli.facts import save
from rustinfer.registry import INT4, Binder, PackedWeight, Target, dense, load_plugins

# Outputs and inputs: gate_up and down of SmolLM2-135M, then of Llama-3.2-1B.
SHAPES = ((3072, 576), (576, 1536), (16384, 2048), (2048, 8192))
Call = Callable[[Tensor], Tensor]


def weight(outputs: int, inputs: int) -> PackedWeight:
    """Random 4-bit numbers with scales that keep products near 1."""
    data = torch.randint(0, 256, (outputs, inputs // 2), dtype=torch.uint8)
    scales = (torch.rand(outputs, inputs // 32) * 0.2 * inputs**-0.5).half()
    return PackedWeight(INT4, data, scales, -8 * scales, 32, torch.Size((outputs, inputs)), torch.bfloat16)


def implementation(call: Callable[[], Any]) -> str:
    """What oneDNN calls the code that ran, "none" where oneDNN was not asked. It tells the C library's stdout alone."""
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(log.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                call()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        log.seek(0)
        lines = [line.split(",") for line in log.read().decode().splitlines() if ",exec," in line]
    return next((part for line in lines for part in line if part.startswith(("brg", "gemm", "jit", "ref"))), "none")


def least(calls: dict[str, Call], x: Tensor, seconds: float) -> dict[str, float]:
    """Each call's shortest time in milliseconds; they take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call(x)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            call(x)
            best[name] = min(best[name], (time.perf_counter() - start) * 1e3)
    return best


def row(outputs: int, inputs: int, rows: int, seconds: float) -> dict[str, Any]:
    """One shape: who was chosen, times, errors relative to the largest value, and what oneDNN ran."""
    registry, target = load_plugins().registry, Target.of("cpu", torch.bfloat16)
    packed, x = weight(outputs, inputs), torch.randn(rows, inputs).bfloat16()
    prompts, decoding = Binder(registry, target), Binder(registry, target.decoding(rows))
    calls = {"prompt": prompts.linear(weight=packed), "decoding": decoding.linear(weight=packed)}
    exact = x.double() @ dense(packed).double().T
    scale = exact.abs().max()
    return {
        "outputs, inputs, rows": [outputs, inputs, rows],
        "chosen": {"prompt": prompts.bindings[-1].backend, "decoding": decoding.bindings[-1].backend},
        "milliseconds": {name: round(took, 3) for name, took in least(calls, x, seconds).items()},
        "error": {name: float((call(x).double() - exact).abs().max() / scale) for name, call in calls.items()},
        "implementation": implementation(lambda: calls["prompt"](x)),
    }


def main() -> int:
    """Print one JSON object a shape."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", metavar="FILE", help="write the result with its command and the machine")
    parser.add_argument("--seconds", type=float, default=1.0, help="spent on each shape")
    args = parser.parse_args()
    torch.manual_seed(0)
    print(f"AMX: {'present' if amx.present() else 'absent'}, {torch.get_num_threads()} threads")
    found = []
    for outputs, inputs in SHAPES:
        found.append(row(outputs, inputs, 512, args.seconds))
        print(json.dumps(found[-1]), flush=True)
    save(args.output, {"amx": amx.present(), "threads": torch.get_num_threads(), "shapes": found})
    return int(amx.present() and not all("amx" in one["implementation"] for one in found))


if __name__ == "__main__":
    sys.exit(main())
