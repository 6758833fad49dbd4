"""First light on a GPU: limits, conformance, agreement with fp32, and speed of the composed Llama by step and op.

    PYTHONPATH=. python3 -m benchmarks.gpu.first_light --out DIR [--only PART,PART,...]

Writes DIR/first_light.json and prints tables. rustinfer need not be installed.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rustinfer.backends.triton import launch
from rustinfer.cli.facts import save
from rustinfer.registry import Target

from .graph import Graph, milliseconds
from .judged import judge
from .profiled import by_kernel, profiled
from .roof import limits
from .sites import Bench, Site
from .sweep import best, prepare, sweep
from .world import DEVICE, PAGE, caches, configuration, logits, registry, step, weights, wire

BATCHES = (1, 8, 32, 64, 128, 256)
LARGE_BATCHES = (1, 64, 256)
PROMPTS = (128, 512, 2048, 8192)
Report = dict[str, Any]


def compile_ahead(plan: list[tuple[str, int, bool]]) -> None:
    """One layer of each step, in a process each, so that kernels are compiled side by side and not one by one."""
    command = [sys.executable, "-m", "benchmarks.gpu.first_light", "--out", ".", "--one-layer"]
    running = [subprocess.Popen([*command, f"{name},{rows},{int(decoding)}"]) for name, rows, decoding in plan]
    for process in running:
        process.wait()


def one_layer(text: str) -> None:
    """`name,rows,decode`: run such a step once."""
    name, rows, decoding = text.split(",")
    torch.cuda.set_per_process_memory_fraction(0.05)
    config = configuration(name, 9216, layers=1)
    count, plain = int(rows), Target.of(DEVICE, torch.bfloat16)
    target = plain.decoding(count) if int(decoding) else plain
    s = step(config, [1] * count, [512] * count) if int(decoding) else step(config, [count], [count])
    held, cache = weights(config, torch.bfloat16), caches(config, s.pages.numel(), torch.bfloat16)
    model, binder = wire(config, registry("triton", "cublas"), target, held, cache)
    binder.argmax()(logits(model, s, torch.arange(count if int(decoding) else 1, device=DEVICE)))
    torch.cuda.synchronize()


def agreement() -> Report:
    """bf16 through the kernels against fp32 through the references, on the same weights: prompts, then decode steps."""
    config = configuration("llama-3.2-1b", 4096, layers=4)
    held = weights(config, torch.bfloat16)
    exact = {name: w.float() for name, w in held.items()}
    report: Report = {}
    for kind, rows, lengths in (("prompts", [200, 1, 77], [200, 90, 300]), ("decode 1", [1], [700]),
                                ("decode 8", [1] * 8, [5, 700, 64, 65, 1, 300, 17, 900]),
                                ("decode 24", [1] * 24, list(range(1, 960, 40))),
                                ("decode 40", [1] * 40, list(range(1, 800, 20)))):  # fmt: skip
        s = step(config, rows, lengths)
        pages = s.pages.numel()
        wide = caches(config, pages, torch.float32)
        narrow = [(k.bfloat16(), v.bfloat16()) for k, v in wide]
        wide = [(k.float(), v.float()) for k, v in narrow]
        target = Target.of(DEVICE, torch.bfloat16)
        target = target.decoding(len(rows)) if kind.startswith("decode") else target
        ours, binder = wire(config, registry("triton", "cublas"), target, held, narrow)
        theirs, _ = wire(config, registry(), Target.of(DEVICE, torch.float32), exact, wide)
        last = s.query_starts[1:].long() - 1
        got, want = logits(ours, s, last), logits(theirs, s, last)
        gap = (got.double() - want.double()).norm() / want.double().norm()
        same = (got.argmax(-1) == want.argmax(-1)).float().mean().item()
        margin = want.topk(2).values.diff().abs().min().item()
        written = max(
            (a.double() - b.double()).norm() / b.double().norm()
            for p, q in zip(narrow, wide, strict=True)
            for a, b in zip(p, q, strict=True)
        )
        graph = Graph(lambda m=ours, s=s, last=last: logits(m, s, last))
        graph.replay()
        first = graph.result.clone()
        repeats = 0
        for _ in range(100):
            graph.replay()
            repeats += int(not torch.equal(first, graph.result))
        report[kind] = {
            "relative error": gap.item(), "cache error": float(written), "same top token": same, "least margin": margin,
            "replay against eager": (first - got).abs().max().item(), "replays of 100 that differ": repeats,
            "kernels": sorted({f"{b.op.name}={b.backend}" for b in binder.bindings}),
        }  # fmt: skip
        print(kind, report[kind], flush=True)
    return report


def decode(
    name: str = "llama-3.2-1b", ctx: int = 512, batches: tuple[int, ...] = BATCHES, compare: bool = True
) -> Report:
    """A whole decode step with greedy choice, eager and captured, with and without programmatic launch."""
    config = configuration(name)
    held = weights(config, torch.bfloat16)
    cache = caches(config, max(batches) * (ctx // PAGE + 1), torch.bfloat16)
    found, report = registry("triton", "cublas"), {}
    read = sum(w.nbytes for w in held.values())
    for batch in batches:
        s = step(config, [1] * batch, [ctx] * batch)
        row: Report = {}
        for programmatic in (True, False) if compare else (True,):
            launch.PROGRAMMATIC = programmatic
            model, binder = wire(config, found, Target.of(DEVICE, torch.bfloat16).decoding(batch), held, cache)
            choose = binder.argmax()
            rows = torch.arange(batch, device=DEVICE)
            call = lambda model=model, s=s, rows=rows, choose=choose: choose(logits(model, s, rows))  # noqa: E731
            graph = Graph(call)
            row["ms" if programmatic else "ms without pdl"] = milliseconds(graph.replay, repeat=9, inner=20)
            if programmatic:
                row["eager ms"] = milliseconds(call, repeat=3, inner=3)
                row["kernels us"] = profile(graph.replay)
                row["bindings"] = sorted({f"{b.op.name}={b.backend}" for b in binder.bindings})
        launch.PROGRAMMATIC = True
        kv = 2 * config.layers * config.kv_heads * config.head_dim * ctx * batch * 2
        row |= {"tok/s": batch / row["ms"] * 1e3, "TB/s": (read + kv) / row["ms"] / 1e9}
        report[str(batch)] = row
        print(f"decode {batch:4}: {row['ms']:.3f} ms {row['tok/s']:9.0f} tok/s {row['TB/s']:.2f} TB/s; "
              f"no pdl {row.get('ms without pdl', 0):.3f}; eager {row['eager ms']:.2f}", flush=True)  # fmt: skip
        shown(row["kernels us"])
    return report


def profile(call: Callable[[], object]) -> dict[str, Any]:
    """Kernel time of one call by kernel name, longest first: microseconds and launches."""
    try:
        call()
        return by_kernel(profiled(call))
    except Exception as error:  # the profiler is a luxury
        return {"error": str(error)[:100]}


def shown(kernels: dict[str, Any]) -> None:
    """The longest, on one line."""
    print("   ", {name[:48]: row for name, row in list(kernels.items())[:9]}, flush=True)


def prefill(name: str = "llama-3.2-1b") -> Report:
    """One prompt, eager and captured, last row's logits only."""
    config = configuration(name)
    held, report = weights(config, torch.bfloat16), {}
    cache = caches(config, max(PROMPTS) // PAGE + 1, torch.bfloat16)
    model, binder = wire(config, registry("triton", "cublas"), Target.of(DEVICE, torch.bfloat16), held, cache)
    choose = binder.argmax()
    for tokens in PROMPTS:
        s = step(config, [tokens], [tokens])
        last = torch.tensor([tokens - 1], device=DEVICE)
        call = lambda s=s, last=last: choose(logits(model, s, last))  # noqa: E731
        graph = Graph(call)
        row: Report = {"ms": milliseconds(graph.replay, inner=3), "eager ms": milliseconds(call, repeat=5)}
        linear = 2 * tokens * sum(w.numel() for n, w in held.items() if "layers" in n and w.dim() == 2)
        attend = 2 * tokens * tokens * config.heads * config.head_dim * config.layers
        row |= {"TFLOP/s": (linear + attend) / row["ms"] / 1e9, "kernels us": profile(graph.replay)}
        report[str(tokens)] = row
        print(
            f"prefill {tokens:5}: {row['ms']:.3f} ms (eager {row['eager ms']:.3f}) {row['TFLOP/s']:.0f} TFLOP/s",
            flush=True,
        )
        shown(row["kernels us"])
    return report


def sites(bench: Bench) -> list[Callable[[], Site]]:
    """The ops of a step."""
    c = bench.config
    made = [bench.qkv, bench.attention, lambda: bench.linear("o", c.width, c.width), bench.gate_up]
    made += [lambda: bench.linear("down", c.width, c.hidden), bench.norm]
    return (
        [*made, bench.head, bench.argmax, bench.sample, lambda: bench.sample(40, 0.95)] if bench.target.decode else made
    )


def each_op(peak: float) -> list[Report]:
    """Every op by itself at several row counts, and cuBLAS beside it, as a graph of all layers' calls."""
    rows: list[Report] = []
    found, config = registry("triton", "cublas"), configuration("llama-3.2-1b", 9216)
    base = Target.of(DEVICE, torch.bfloat16)
    plan = [(n, True) for n in (1, 4, 8, 16, 32, 64, 256)] + [(n, False) for n in (512, 2048, 8192)]
    for count, decoding in plan:
        target = base.decoding(count) if decoding else base
        bench = Bench(config, found, target, rows=count, ctx=512 if decoding else count)
        makers = sites(bench)
        if decoding:
            makers += [lambda b=bench, n=n, o=o, k=k: b.linear(f"{n} cublas", o, k, "cublas") for n, o, k in
                       (("qkv", 3072, 2048), ("o", 2048, 2048), ("gate_up", 16384, 2048),
                        ("down", 2048, 8192))]  # fmt: skip
        for maker in makers:
            try:
                site = maker()
                graph = Graph(lambda site=site: [call() for call in site.calls], warm=1)
                took = milliseconds(graph.replay, repeat=5, inner=3) / len(site.calls)
                floor = max(site.nbytes / peak / 1e9, site.flops / 7.5e11)
                rows.append({"rows": count, "decode": decoding, "op": site.name, "us": took * 1e3,
                             "TB/s": site.nbytes / took / 1e9,
                             "TFLOP/s": site.flops / took / 1e9, "share": floor / took})  # fmt: skip
                r = rows[-1]
                print(
                    f"{count:5} {site.name:22} {r['us']:9.2f} us {r['TB/s']:6.2f} TB/s "
                    f"{r['TFLOP/s']:7.1f} TFLOP/s {r['share']:6.1%}",
                    flush=True,
                )
            except Exception as error:  # one op that fails should not cost the others' figures
                rows.append({"rows": count, "error": f"{type(error).__name__}: {str(error)[:200]}"})
                print(rows[-1], flush=True)
    return rows


def tables(report: Report) -> None:
    """The rows that count, once more, at the very end of the output."""
    for part in ("decode", "decode8b"):
        for batch, row in report.get(part, {}).items():
            if isinstance(row, dict):
                took = f"{row['ms']:7.3f} ms {row['tok/s']:9.0f} tok/s; no pdl {row.get('ms without pdl', 0):.3f}"
                print(f"{part:9} {batch:>5}: {took}")
    for tokens, row in report.get("prefill", {}).items():
        if isinstance(row, dict):
            print(f"prefill   {tokens:>5}: {row['ms']:7.3f} ms {row['TFLOP/s']:6.0f} TFLOP/s")


def main() -> None:
    """Run the parts asked for, each by itself, and keep what each gives."""
    logging.getLogger("rustinfer").setLevel(logging.ERROR)  # bindings are in the report
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="limits,agreement,conformance,decode,prefill,sweep,ops")
    parser.add_argument("--sweep-of", default="", help="try these only: a text that the trials' names contain")
    parser.add_argument("--sweep-seconds", type=float, default=80)
    parser.add_argument("--judge-seconds", type=float, default=150)
    parser.add_argument("--judge-ops", default="", help="judge these ops only, separated by commas")
    parser.add_argument("--no-compare", action="store_true", help="measure with programmatic launch only")
    parser.add_argument("--one-layer", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one_layer:
        one_layer(chosen.one_layer)
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    report: Report = {}

    def swept() -> object:
        prepare(chosen.sweep_of)
        rows = sweep(chosen.sweep_seconds, chosen.sweep_of)
        report["best"] = best(rows)
        print("\n".join(report["best"]), flush=True)
        return rows

    def judged() -> object:
        result = judge(seconds=chosen.judge_seconds, ops=tuple(filter(None, chosen.judge_ops.split(","))))
        (chosen.out / "failures.txt").write_text("\n".join(map(str, result["failures"])))  # type: ignore[call-overload]
        print({k: v for k, v in result.items() if k != "failures"}, flush=True)
        for line in list(result["failures"])[:25]:  # type: ignore[call-overload]
            print("  ", str(line)[:230], flush=True)
        return result

    parts: dict[str, Callable[[], object]] = {
        "limits": limits,
        "agreement": agreement,
        "conformance": judged,
        "decode": lambda: decode(compare=not chosen.no_compare),
        "decode8b": lambda: decode("llama-3.1-8b", batches=LARGE_BATCHES, compare=not chosen.no_compare),
        "prefill": prefill,
        "sweep": swept,
        "ops": lambda: each_op(float(report.get("limits", {}).get("read_TBs", 3.0))),
    }
    ahead = [("llama-3.2-1b", n, True) for n in BATCHES] if "decode" in chosen.only.split(",") else []
    ahead += [("llama-3.1-8b", n, True) for n in LARGE_BATCHES] if "decode8b" in chosen.only else []
    ahead += [("llama-3.2-1b", n, False) for n in PROMPTS[-2:]] if "prefill" in chosen.only else []
    compile_ahead(ahead)
    for name in chosen.only.split(","):
        began = time.time()
        try:
            report[name] = parts[name]()
            if name == "limits":
                print(report[name], flush=True)
        except Exception:  # the next part may still work, and the lease is short
            report[name] = {"error": traceback.format_exc()[-1500:]}
            print(report[name]["error"], flush=True)
        torch.cuda.empty_cache()
        print(f"--- {name}: {time.time() - began:.1f} s", flush=True)
        save(chosen.out / "first_light.json", report)
    tables(report)


if __name__ == "__main__":
    main()
