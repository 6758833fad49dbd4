"""The persistent decode kernel on the GPU that is here: right, repeatable, and where its time goes.

python -m benchmarks.gpu.decode_step --out DIR [--only right,repeat,whole,line,settings,models,far,wider] [--seconds N]
"""

from __future__ import annotations

import argparse
import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cuda import nvrtc
from rustinfer.backends.cuda.decode import Decoder, shape
from rustinfer.backends.cuda.plan import Plan
from rustinfer.cli.facts import save
from rustinfer.models.config import ModelConfig
from rustinfer.models.llama import decoder as bound_decoder
from rustinfer.models.model import Step
from rustinfer.models.parameters import Parameters
from rustinfer.models.quantise import Quantised
from rustinfer.models.shapes import SHAPES
from rustinfer.registry import Binder, PackedWeight, Policy, Target

from .graph import Graph
from .world import DEVICE, PAGE, caches, configuration, registry, step, weights

BF16 = torch.bfloat16
SMOL = {
    **SHAPES["llama-3.2-1b"], "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
}  # fmt: skip
SCHEMES = ("", "int8", "int4")
Report = dict[str, Any]


def config_of(name: str, layers: int | None = None, context: int = 8192) -> ModelConfig:
    """A built-in shape or SmolLM2's."""
    if name != "smollm2":
        return configuration(name, context=context, layers=layers)
    made = ModelConfig.from_dict(SMOL, name)
    return replace(made, context=context, layers=layers or made.layers)


class World:
    """A decoder of random weights, perhaps packed, with its cache; and the kernel and the composition bound for it."""

    def __init__(self, config: ModelConfig, positions: int, scheme: str = "") -> None:
        self.config, self.scheme = config, scheme or "bf16"
        made: Any = weights(config, BF16)
        held = Parameters(Quantised(made, scheme) if scheme else made)
        self.bound: Any = bound_decoder(config, held, DEVICE)
        self.caches = caches(config, positions // PAGE + 40, BF16)
        self.blocks = torch.cuda.get_device_properties(DEVICE).multi_processor_count

    def plan(self, rows: int, **tuned: int) -> Plan:
        """How the kernel is cut for up to `rows` rows."""
        return Plan(**{**vars(shape(self.bound, rows, self.blocks)), "tuned": tuned})

    def decoder(self, rows: int, **tuned: int) -> Decoder:
        """The kernel for up to `rows` rows."""
        return Decoder(self.plan(rows, **tuned), Target.of(DEVICE, BF16), self.bound)

    def step(self, lengths: list[int]) -> Step:
        """A step after which the sequences have these lengths."""
        return step(self.config, [1] * len(lengths), lengths)

    def run(self, decoder: Decoder, s: Step) -> Tensor:
        """One step's logits."""
        logits = torch.empty((len(s.tokens), self.config.vocab), dtype=torch.float32, device=DEVICE)
        names = ("tokens", "positions", "slots", "lengths", "pages")
        decoder({**{name: getattr(s, name) for name in names}, "logits": logits}, self.caches)
        return logits

    def composed(self, rows: int, **pins: str) -> Callable[[Step], Tensor]:
        """The same by the best kernels of the parts."""
        binder = Binder(
            registry("cuda", "triton", "cublas"), Target.of(DEVICE, BF16).decoding(rows),
            Policy(pins={"decode_step": "reference", **pins}),
        )  # fmt: skip
        call = binder.decode_step(decoder=self.bound)
        return lambda s: call(s.tokens, s.positions, s.slots, s.query_starts, s.lengths, s.pages, self.caches)

    def reference(self, s: Step, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        """The definition's result, in a dtype, and what it wrote; on copies of the cache."""
        wide = partial(widened, dtype=dtype)
        bound = {
            **{name: wide(v) for name, v in self.bound.items()},
            "cos": self.bound["cos"],
            "sin": self.bound["sin"],
        }
        bound["layers"] = [{name: wide(v) for name, v in layer.items()} for layer in self.bound["layers"]]
        cache = [(k.to(dtype, copy=True), v.to(dtype, copy=True)) for k, v in self.caches]
        flow = (s.tokens, s.positions, s.slots, s.query_starts, s.lengths, s.pages, cache)
        result = ops.decode_step(*flow, decoder=bound)
        return result, [t[s.slots // PAGE, :, s.slots % PAGE] for pair in cache for t in pair]


def widened(value: object, dtype: torch.dtype) -> object:
    """A weight in another dtype."""
    if isinstance(value, PackedWeight):
        return value.astype(dtype)
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def compile_all(plans: list[Plan]) -> None:
    """Compile in threads what will be needed, so that nothing waits for it one by one."""
    sm = torch.cuda.get_device_capability()
    with ThreadPoolExecutor(14) as pool:
        list(pool.map(lambda plan: nvrtc.compiled("decode.cu", plan.defines, sm), plans))


def alternated(calls: Mapping[str, Callable[[], object]], rounds: int = 5, inner: int = 40) -> dict[str, list[float]]:
    """Microseconds of each call, in turns, so that what drifts drifts for all."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
            call()
            start.record()
            for _ in range(inner):
                call()
            end.record()
            end.synchronize()
            took[name].append(start.elapsed_time(end) / inner * 1e3)
    return took


def table(title: str, took: Mapping[str, list[float]], rows: Mapping[str, int] | int = 1) -> dict[str, Any]:
    """Print medians and spreads, and return them."""
    out = {}
    for name, times in took.items():
        count = rows if isinstance(rows, int) else rows[name]
        middle = statistics.median(times)
        out[name] = {"us": middle, "least": min(times), "most": max(times), "tok/s": count / middle * 1e6}
        print(f"{title} {name}: {middle:.1f} us ({min(times):.1f} to {max(times):.1f}) = "
              f"{count / middle * 1e6:.0f} tok/s", flush=True)  # fmt: skip
    return out


LENGTHS = ([1], [300], [5000], [300, 40], [5, 700, 33], [9, 300, 5000, 1, 64, 65, 640, 128])


def right(report: Report) -> None:
    """Against the definition in fp32, for each form of weights."""
    torch.backends.cuda.matmul.allow_tf32 = False
    found = []
    cases = [("llama-3.2-1b", 2, scheme) for scheme in SCHEMES] + [("smollm2", 2, ""), ("smollm2", 2, "int8")]
    cases += [("llama-3.2-3b", 1, scheme) for scheme in SCHEMES] + [("llama-3.1-8b", 1, scheme) for scheme in SCHEMES]
    for name, layers, scheme in cases:
        w = World(config_of(name, layers), 8 * 5100, scheme)
        compile_all([w.plan(rows) for rows in (1, 2, 4, 8)])
        for lengths in LENGTHS if name == "llama-3.2-1b" and not scheme else LENGTHS[1::2]:
            s, decoder = w.step(lengths), w.decoder(len(lengths))
            got = w.run(decoder, s)
            torch.cuda.synchronize()
            written = [t[s.slots // PAGE, :, s.slots % PAGE] for pair in w.caches for t in pair]
            (gold, gold_written), (plain, plain_written) = w.reference(s, torch.float32), w.reference(s, BF16)
            err, own = ((t.float() - gold).abs().max().item() for t in (got, plain))
            pairs = list(zip(written, plain_written, gold_written, strict=True))
            worst, allowed = (max((p[i].float() - p[2]).abs().max().item() for p in pairs) for i in (0, 1))
            good = err <= 2 * own + 0.008 * gold.abs().max().item() and worst <= 2 * allowed + 0.02
            found.append((name, layers, w.scheme, lengths, err, own, worst, allowed, good, decoder.fault()))
            if not good or decoder.fault():
                print("WRONG", found[-1], flush=True)
        del w
    print(f"right: {sum(row[-2] for row in found)} of {len(found)}; worst error {max(r[4] for r in found):.4f} "
          f"beside the definition's own {max(r[5] for r in found):.4f}", flush=True)  # fmt: skip
    report["right"] = found


def repeat(report: Report) -> None:
    """A thousand steps over the same inputs."""
    for scheme in SCHEMES:
        w = World(config_of("llama-3.2-1b"), 8 * 700, scheme)
        for lengths in ([640], [640, 33, 128, 250, 1, 64, 65, 100]):
            s, decoder = w.step(lengths), w.decoder(len(lengths))
            graph = Graph(lambda: w.run(decoder, s))  # noqa: B023
            graph.replay()
            first = graph.result.clone()
            different = torch.zeros((), dtype=torch.int64, device=DEVICE)
            for _ in range(1000):
                graph.replay()
                different += (graph.result != first).any()
            name = f"{w.scheme}, {len(lengths)} rows: different of 1000"
            report.setdefault("repeat", {})[name] = int(different)
            print(f"repeat: {name}: {int(different)}; fault {decoder.fault()}", flush=True)


def greedy(w: World, call: Callable[[Step], Tensor], s: Step) -> Graph:
    """A step and its argmax in one graph."""
    argmax = Binder(registry("cuda", "triton", "cublas"), Target.of(DEVICE, torch.float32).decoding(8)).argmax()
    return Graph(lambda: argmax(call(s)))


def whole(report: Report, name: str = "llama-3.2-1b", most: int = 8) -> None:
    """A step with its argmax, by rows, context and form of weights; and what the composition takes."""
    out: Report = {}
    for scheme in SCHEMES:
        w = World(config_of(name), 8 * 2400, scheme)
        counts = [rows for rows in (1, 2, 4, 8) if rows <= most]
        compile_all([w.plan(rows) for rows in counts])
        calls, rows_of = {}, {}
        for rows in counts:
            decoder = w.decoder(rows)
            for length in (384, 2304):
                title = f"{w.scheme}, {rows} rows at {length}"
                calls[title], rows_of[title] = greedy(w, partial(w.run, decoder), w.step([length] * rows)).replay, rows
        if most == 8 and not scheme:
            calls[f"{w.scheme}, composed"] = greedy(w, w.composed(1), w.step([384])).replay
            rows_of[f"{w.scheme}, composed"] = 1
        out |= table(name, alternated(calls, 5, 30), rows_of)
        del w, calls
    report.setdefault("whole", {})[name] = out


SETTINGS: dict[int, tuple[dict[str, int], ...]] = {
    1: ({}, {"AT_ONCE": 2}, {"AHEAD": 4}, {"AHEAD": 6, "CALM": 3}, {"PILE": 9}, {"SPLITS": 8}),
    4: ({}, {"AT_ONCE": 4}),
    8: ({}, {"AT_ONCE": 4}),
}


def settings(report: Report) -> None:
    """Variants of the kernel's settings, in turns, by rows and form of weights."""
    for scheme in SCHEMES:
        w = World(config_of("llama-3.2-1b"), 8 * 450, scheme)
        compile_all([w.plan(rows, **tuned) for rows, every in SETTINGS.items() for tuned in every])
        calls, rows_of = {}, {}
        for rows, every in SETTINGS.items():
            for tuned in every:
                title = f"{w.scheme}, {rows} rows {tuned}"
                call = partial(w.run, w.decoder(rows, **tuned))
                calls[title], rows_of[title] = greedy(w, call, w.step([384] * rows)).replay, rows
        report.setdefault("settings", {})[w.scheme] = table("settings:", alternated(calls), rows_of)
        del w, calls


WIDER: dict[str, tuple[dict[str, int], ...]] = {
    "llama-3.2-3b": ({}, {"AHEAD": 4}, {"AHEAD": 6}, {"AHEAD": 4, "PILE": 3}, {"MANY": 12}, {"SPLITS": 7}),
    "llama-3.1-8b": ({}, {"AHEAD": 6}, {"AHEAD": 8}, {"AHEAD": 6, "CALM": 3}, {"MANY": 12}, {"SPLITS": 7}),
}


def wider(report: Report) -> None:
    """The settings of larger models in bfloat16, one row: a smaller part of their step waits for others."""
    for name, every in WIDER.items():
        w = World(config_of(name), 450)
        compile_all([w.plan(1, **tuned) for tuned in every])
        s = w.step([384])
        calls = {str(tuned): greedy(w, partial(w.run, w.decoder(1, **tuned)), s).replay for tuned in every}
        report.setdefault("wider", {})[name] = table(f"settings of {name}:", alternated(calls, 5, 20))
        del w, calls


def line(report: Report) -> None:
    """The time line of a layer: when the blocks end each stage, in microseconds, from layer 3 on."""
    for scheme in SCHEMES:
        w = World(config_of("llama-3.2-1b"), 800, scheme)
        s, decoder = w.step([384]), w.decoder(1, MARKS=1)
        for _ in range(20):
            w.run(decoder, s)
        torch.cuda.synchronize()
        stamps = decoder.scratch["marks"].view(w.blocks, w.config.layers + 1, -1)
        marks, moments = stamps[..., :16], stamps[:, 3:-1, 16:]
        marks = (marks - marks[marks > 0].min()).double() / 1e3
        ends = marks[:, :-1] - marks[:, -1, :1].min()[..., None]
        # Stages 1 to 6 and, eight further, when what each waits for had come.
        names = {
            1: "qkv",
            2: "attention",
            4: "out",
            5: "gate_up",
            6: "down",
            9: "qkv in",
            12: "out in",
            13: "gate_up in",
        }
        origin = ends[:, 2:-1, 6].mean(0)
        made = {name: ends[:, 3:, i] - origin for i, name in names.items()}
        found: Report = {
            name: {
                "mean": t.mean().item(),
                "first": t.min(0).values.mean().item(),
                "last": t.max(0).values.mean().item(),
            }
            for name, t in made.items()
        }
        start = marks[:, -1, 0].min()
        found |= {
            "last layer": (marks[:, -2, 6].max() - start).item(), "head in": (marks[:, -1, 15].max() - start).item(),
            "end": (marks[:, -1, 7].max() - start).item(), "head's first end": (marks[:, -1, 7].min() - start).item(),
            "start": (marks[:, -1, 0].max() - start).item(),
            "first layer": ends[:, 0].mean(0).tolist(),
        }  # fmt: skip
        found |= cycles(moments, decoder.plan)
        report.setdefault("line", {})[w.scheme] = found
        for key, value in found.items():
            shown = {k: round(v, 2) for k, v in value.items()} if isinstance(value, dict) else value
            print(f"  {w.scheme} {key}: {shown}", flush=True)


def cycles(moments: Tensor, plan: Plan) -> Report:
    """Mean cycles of the parts of each stage: until its input is there, its product, all warps' ends, its words out.

    Of attention (of blocks that have a part in it): begun, queries, newest position, tiles, all warps' ends, words out.
    """
    down, last = 2 + plan.flushes, 1 + plan.flushes + (1 if plan.own else plan.flushes)
    stages = {"qkv": 0, "out": 1, "gate and up": 2, "more of them": 3, "down": down, "the last of it": last}
    if plan.own:  # each of these is one stage
        del stages["more of them"], stages["the last of it"]
    found: Report = {}
    for name, at in stages.items():
        parts = moments[..., 5 * at : 5 * at + 5].diff(dim=-1).double().mean((0, 1))
        found[f"{name}, cycles"] = [round(x) for x in parts.tolist() if abs(x) < 1e6]  # sums are not told each time
    after = moments[..., 4:5]
    attention = torch.cat([after, moments[..., 50:56]], -1)
    busy = (attention[..., 1] > attention[..., 0]) & (attention[..., -1] < moments[..., 5])
    for name, last in (("first", 57), ("another", 56)):
        mine = busy & (moments[..., last] > attention[..., -1]) & (moments[..., last] < moments[..., 5])
        found[f"attention, {name} split, cycles"] = attention[mine].diff(dim=-1).double().mean(0).round().tolist()
    return found


def models(report: Report) -> None:
    """Larger models, one row."""
    for name in ("llama-3.2-3b", "llama-3.1-8b"):
        whole(report, name, most=1)


def far(report: Report) -> None:
    """One row with a context of 128k, against the definition in fp32 and in time."""
    w = World(config_of("llama-3.2-1b", 2, context=131072), 131072)
    s, decoder = w.step([131000]), w.decoder(1)
    got, (gold, _), (plain, _) = w.run(decoder, s), w.reference(s, torch.float32), w.reference(s, BF16)
    err, own = ((t.float() - gold).abs().max().item() for t in (got, plain))
    took = alternated({"2 layers at 131000": greedy(w, partial(w.run, decoder), s).replay}, 3, 10)
    report["far"] = {"error": err, "own": own, "fault": decoder.fault(), **table("far", took)}
    print(f"far: error {err:.4f} beside {own:.4f}; fault {decoder.fault()}", flush=True)


PARTS: dict[str, Callable[[Report], None]] = {
    "right": right, "whole": whole, "line": line, "settings": settings, "repeat": repeat, "models": models, "far": far,
    "wider": wider,
}  # fmt: skip


def main() -> None:
    """Run what is asked for; a failure of one part does not keep the others from running."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=240)
    given = parser.parse_args()
    until = time.time() + given.seconds
    report: Report = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    given.out.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        for name in given.only.split(","):
            begun = time.time()
            if begun > until:
                print(f"{name}: no time left", flush=True)
                continue
            try:
                PARTS[name](report)
            except Exception:
                report[f"{name} failed"] = traceback.format_exc()
                print(report[f"{name} failed"], flush=True)
            print(f"-- {name}: {time.time() - begun:.0f} s", flush=True)
            save(given.out / "decode_step.json", report)


if __name__ == "__main__":
    main()
