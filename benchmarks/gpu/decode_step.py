"""The persistent decode kernel on the GPU that is here: right, repeatable, and where its time goes.

python -m benchmarks.gpu.decode_step --out DIR [--only right,repeat,time,line] [--seconds 200]
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cuda.decode import Decoder, shape
from rustinfer.backends.cuda.plan import Plan
from rustinfer.models.config import ModelConfig
from rustinfer.models.llama import layer_weights
from rustinfer.models.model import Step
from rustinfer.models.parameters import Parameters
from rustinfer.models.rotary import rotary_table
from rustinfer.models.shapes import SHAPES
from rustinfer.registry import Policy, Target

from .graph import Graph, milliseconds
from .world import DEVICE, PAGE, caches, configuration, registry, step, weights, wire

BF16 = torch.bfloat16
SMOL = {
    **SHAPES["llama-3.2-1b"], "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
}  # fmt: skip


def config_of(name: str, layers: int | None = None, context: int = 8192) -> ModelConfig:
    """A built-in shape or SmolLM2's."""
    if name != "smollm2":
        return configuration(name, context=context, layers=layers)
    made = ModelConfig.from_dict(SMOL, name)
    return replace(made, context=context, layers=layers or made.layers)


class World:
    """A decoder of random weights with its cache, and the kernel bound for it."""

    def __init__(self, config: ModelConfig, positions: int) -> None:
        self.config = config
        held = Parameters(weights(config, BF16))
        cos, sin = rotary_table(config, config.context, DEVICE)
        self.bound: dict[str, Any] = {
            "embedding": held["model.embed_tokens.weight"],
            "layers": [layer_weights(held, f"model.layers.{i}") for i in range(config.layers)],
            "norm": held.dense("model.norm.weight"), "eps": config.eps, "cos": cos, "sin": sin,
            "heads": config.heads, "kv_heads": config.kv_heads, "window": 0,
        }  # fmt: skip
        self.held, self.caches = held, caches(config, positions // PAGE + 40, BF16)
        self.blocks = torch.cuda.get_device_properties(DEVICE).multi_processor_count

    def decoder(self, rows: int, **tuned: int) -> Decoder:
        """The kernel for up to `rows` rows."""
        plan = shape(self.bound, rows, self.blocks)
        made = Plan(**{**vars(plan), "tuned": tuned})
        return Decoder(made, Target.of(DEVICE, BF16), self.bound)

    def run(self, decoder: Decoder, s: Step) -> Tensor:
        """One step."""
        return decoder(s.tokens, s.positions, s.slots, s.lengths, s.pages, self.caches)

    def reference(self, s: Step, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        """The definition's result, in a dtype, and what it wrote; on copies of the cache."""
        wide = lambda v: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v  # noqa: E731
        layers = [{name: wide(v) for name, v in layer.items()} for layer in self.bound["layers"]]
        cache = [(k.to(dtype, copy=True), v.to(dtype, copy=True)) for k, v in self.caches]
        flow = (s.tokens, s.positions, s.slots, s.query_starts, s.lengths, s.pages, cache)
        bound = {
            **self.bound,
            "layers": layers,
            "embedding": wide(self.bound["embedding"]),
            "norm": wide(self.bound["norm"]),
        }
        result = ops.decode_step(*flow, **bound)
        return result, [t[s.slots // PAGE, :, s.slots % PAGE] for pair in cache for t in pair]


def right(report: dict[str, Any]) -> None:
    """Against the definition in fp32, layer by layer where a shape has several."""
    torch.backends.cuda.matmul.allow_tf32 = False
    table = []
    for name, depths in (("llama-3.2-1b", (2,)), ("smollm2", (2,)), ("llama-3.2-3b", (1,)), ("llama-3.1-8b", (1,))):
        for layers in depths:
            w = World(config_of(name, layers), 8 * 5100)
            for lengths in ([1], [17], [300], [5000], [300, 40], [5, 700, 33], [9, 300, 5000, 1, 64, 65, 640, 128]):
                if layers != depths[-1] and len(lengths) > 1:
                    continue
                s = step(w.config, [1] * len(lengths), lengths)
                decoder = w.decoder(len(lengths))
                got = w.run(decoder, s)
                torch.cuda.synchronize()
                written = [t[s.slots // PAGE, :, s.slots % PAGE] for pair in w.caches for t in pair]
                gold, gold_written = w.reference(s, torch.float32)
                plain, plain_written = w.reference(s, BF16)
                err, own = ((t.float() - gold).abs().max().item() for t in (got, plain))
                pairs = list(zip(written, plain_written, gold_written, strict=True))
                worst, allowed = (max((p[i].float() - p[2]).abs().max().item() for p in pairs) for i in (0, 1))
                good = err <= 2 * own + 0.008 * gold.abs().max().item() and worst <= 2 * allowed + 0.02
                table.append((name, layers, lengths, err, own, worst, allowed, good, decoder.fault()))
                if not good or decoder.fault():
                    print("WRONG", table[-1], flush=True)
            del w
    print(f"right: {sum(row[-2] for row in table)} of {len(table)}; worst error {max(r[3] for r in table):.4f} "
          f"beside the definition's own {max(r[4] for r in table):.4f}", flush=True)  # fmt: skip
    report["right"] = table


def repeat(report: dict[str, Any]) -> None:
    """A thousand steps over the same inputs."""
    w = World(config_of("llama-3.2-1b"), 8 * 700)
    for lengths in ([640], [640, 33, 128, 250, 1, 64, 65, 100]):
        s, decoder = step(w.config, [1] * len(lengths), lengths), w.decoder(len(lengths))
        graph = Graph(lambda: w.run(decoder, s))  # noqa: B023
        graph.replay()
        first = graph.result.clone()
        different = torch.zeros((), dtype=torch.int64, device=DEVICE)
        for _ in range(1000):
            graph.replay()
            different += (graph.result.view(torch.int16) != first.view(torch.int16)).any()
        report[f"different of 1000, {len(lengths)} rows"] = int(different)
        print(
            f"repeat: {int(different)} of 1000 steps of {len(lengths)} rows differ; fault {decoder.fault()}", flush=True
        )


VARIANTS: tuple[dict[str, int], ...] = (
    {}, {"CALM": 1}, {"CALM": 3}, {"PILE": 4, "CALM": 1}, {"PILE": 8, "CALM": 1}, {"AHEAD": 2, "CALM": 2},
    {"AHEAD": 4, "CALM": 1}, {"AHEAD": 2, "CALM": 1}, {"SPLITS": 4}, {"SPLITS": 8},
)  # fmt: skip


def timed(report: dict[str, Any], until: float) -> None:
    """The stack alone for variants, then with the head and argmax, by context and batch."""
    w = World(config_of("llama-3.2-1b"), 8 * 2700)
    out: dict[str, float] = {}
    for tuned in VARIANTS:
        line = []
        for length in (384, 2304):
            s, decoder = step(w.config, [1], [length]), w.decoder(1, **tuned)
            graph = Graph(lambda: w.run(decoder, s))  # noqa: B023
            line.append(milliseconds(graph.replay, repeat=7, inner=40) * 1e3)
            out[f"stack {tuned} at {length}"] = line[-1]
        print(f"stack {tuned}: {line[0]:.1f} us at 384, {line[1]:.1f} at 2304; fault {decoder.fault()}", flush=True)
        if time.time() > until:
            break
    for rows in (2, 4, 8):
        s, decoder = step(w.config, [1] * rows, [384] * rows), w.decoder(rows)
        graph = Graph(lambda: w.run(decoder, s))  # noqa: B023
        out[f"stack of {rows} rows"] = milliseconds(graph.replay, repeat=7, inner=40) * 1e3
        print(
            f"stack of {rows} rows at 384: {out[f'stack of {rows} rows']:.1f} us; fault {decoder.fault()}", flush=True
        )
    report["us"] = out


MODELS = (("llama-3.2-1b", (1, 2, 4, 8), (384, 2304)), ("llama-3.2-3b", (1,), (384,)), ("llama-3.1-8b", (1,), (384,)))


def whole(report: dict[str, Any]) -> None:
    """A step of the model as it is wired: the kernel, the head and argmax in one graph; and without the kernel."""
    found, out = registry("cuda", "triton", "cublas"), {}
    for name, rows_of, lengths in MODELS:
        config = config_of(name)
        held, cache = Parameters(weights(config, BF16)), caches(config, 8 * 2500 // PAGE, BF16)
        for rows in rows_of:
            for pins in ({}, {"decode_step": "reference"}):
                if pins and rows not in (1, 8):
                    continue
                target = Target.of(DEVICE, BF16).decoding(rows)
                model, _ = wire(config, found, target, held, cache, Policy(pins=pins))
                picks = torch.arange(rows, device=DEVICE)
                for length in lengths:
                    s = step(config, [1] * rows, [length] * rows)
                    graph = Graph(lambda: model.logits(model.forward(s), picks).argmax(-1))  # noqa: B023
                    ms = milliseconds(graph.replay, repeat=7, inner=40)
                    title = f"{name}, {rows} rows at {length}, {'composed' if pins else 'kernel'}"
                    out[title] = ms
                    print(f"{title}: {ms * 1e3:.0f} us = {rows / ms * 1e3:.0f} tok/s", flush=True)
        del held, cache
    report["whole ms"] = out


def line(report: dict[str, Any]) -> None:
    """The time line of a layer: when the blocks end each stage, in microseconds, from layer 3 on."""
    w = World(config_of("llama-3.2-1b"), 800)
    s, decoder = step(w.config, [1], [384]), w.decoder(1, MARKS=1)
    for _ in range(20):
        w.run(decoder, s)
    torch.cuda.synchronize()
    marks = decoder.scratch["marks"].view(w.blocks, w.config.layers + 1, 16).double() / 1e3
    ends = marks[:, :-1] - marks[:, -1, :1].min()[..., None]
    # Stages 1 to 6 and, eight further, when what each waits for had come.
    names = {1: "qkv", 2: "attention", 4: "out", 5: "gate_up", 6: "down", 9: "qkv in", 12: "out in", 13: "gate_up in"}
    origin = ends[:, 2:-1, 6].mean(0)
    made = {name: ends[:, 3:, i] - origin for i, name in names.items()}
    report["line"] = {
        name: {"mean": t.mean().item(), "first": t.min(0).values.mean().item(), "last": t.max(0).values.mean().item()}
        for name, t in made.items()
    }
    late = (made["down"] - made["down"].mean(0)).mean(1)
    report["line"] |= {
        "late blocks": late.topk(8).values.tolist(), "which": late.topk(8).indices.tolist(),
        "early blocks": (-(-late).topk(8).values).tolist(),
        "noise of a block": (made["down"] - made["down"].mean(0)).std(1).mean().item(),
        "end": (marks[0, -1, 7] - marks[:, -1, 0].min()).item(),
        "start": (marks[:, -1, 0].max() - marks[:, -1, 0].min()).item(),
        "first layer": ends[:, 0].mean(0).tolist(),
    }  # fmt: skip
    for key, value in report["line"].items():
        shown = {k: round(v, 2) for k, v in value.items()} if isinstance(value, dict) else value
        print(f"  {key}: {shown}", flush=True)
    report["late"] = late.tolist()


def main() -> None:
    """Run what is asked for; a failure of one part does not keep the others from running."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="right,repeat,time,line,whole")
    parser.add_argument("--seconds", type=float, default=240)
    given = parser.parse_args()
    until = time.time() + given.seconds
    report: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    parts = {"right": right, "repeat": repeat, "time": lambda r: timed(r, until), "whole": whole, "line": line}
    with torch.inference_mode():
        for name in given.only.split(","):
            begun = time.time()
            if begun > until:
                print(f"{name}: no time left", flush=True)
                continue
            try:
                parts[name](report)
            except Exception:
                report[f"{name} failed"] = traceback.format_exc()
                print(report[f"{name} failed"], flush=True)
            print(f"-- {name}: {time.time() - begun:.0f} s", flush=True)
            given.out.mkdir(parents=True, exist_ok=True)
            (given.out / "decode_step.json").write_text(json.dumps(report, indent=1, default=str))


if __name__ == "__main__":
    main()
