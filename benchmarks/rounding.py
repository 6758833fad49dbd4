"""What rounding costs the default model: `python -m benchmarks.rounding [--llama-python PATH] [--out FILE]`.

Logits of the project's own prose, each position's beside those of float32: the Kullback-Leibler divergence,
and the error of the likeliest token's log-probability. With the bfloat16 products of `cpu` (rows of 16 bits), of `vnni`
(of 8), with those of `vnni` in one op alone, and, where PATH has llama-cpp-python, llama.cpp's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rustinfer import LLM, SamplingParams
from rustinfer.cli.facts import save
from rustinfer.models.sources import locate

PIECE, PIECES = 512, 2
PRODUCTS = ("norm_qkv_rope_write", "norm_gate_up_silu", "linear")
TEXT = ("README.md", "docs/architecture.md")
PEER = """
import sys, numpy, llama_cpp
model, ids, out = sys.argv[1], numpy.load(sys.argv[2]), sys.argv[3]
peer = llama_cpp.Llama(model_path=model, n_ctx=ids.shape[1], logits_all=True, verbose=False)
found = []
for piece in ids:
    peer.reset()
    peer.eval(piece.tolist())
    found.append(peer.scores[: len(piece) - 1].copy())
numpy.save(out, numpy.concatenate(found))
"""


def logits(**options: Any) -> tuple[np.ndarray, Tensor]:
    """The pieces' tokens, and the logits [positions, vocabulary] of all but each piece's last."""
    found: list[Tensor] = []
    with LLM("smollm2", max_model_len=2 * PIECE, enable_prefix_caching=False, **options) as llm:
        root = Path(__file__).parents[1]
        ids = llm.get_tokenizer().encode("\n".join((root / name).read_text() for name in TEXT))
        pieces = np.array(ids[: PIECE * PIECES]).reshape(PIECES, PIECE)
        loaded: Any = llm._loaded
        model = loaded.engine.runner.mixed.model
        inner = model.logits

        def kept(hidden: Tensor, rows: Tensor) -> Tensor:
            found.append(inner(hidden, rows))
            return found[-1]

        model.logits = kept
        for piece in pieces:
            asked = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=1)
            llm.generate([{"prompt_token_ids": piece.tolist()}], asked, use_tqdm=False)
    return pieces, torch.cat([part for part in found if len(part) > 1])  # one row alone is the next token's


def peer(python: str, pieces: np.ndarray) -> Tensor:
    """llama.cpp's logits of the same tokens."""
    with tempfile.TemporaryDirectory() as folder:
        ids, out = Path(folder) / "ids.npy", Path(folder) / "logits.npy"
        np.save(ids, pieces)
        subprocess.run([python, "-c", PEER, str(locate("smollm2")), str(ids), str(out)], check=True)
        return torch.from_numpy(np.load(out))


def compared(got: Tensor, exact: Tensor) -> dict[str, float]:
    """How far the one is from the other."""
    p, q = exact.double().log_softmax(-1), got.double().log_softmax(-1)
    divergence, best = (p.exp() * (p - q)).sum(-1), p.argmax(-1, keepdim=True)
    error = (p - q).gather(1, best).abs()
    found = {
        "divergence, mean": divergence.mean(),
        "divergence, 99 of 100 below": divergence.quantile(0.99),
        "divergence, largest": divergence.max(),
        "error of the likeliest token's log-probability, mean": error.mean(),
        "error of the likeliest token's log-probability, largest": error.max(),
        "positions with the same likeliest token": (q.argmax(-1, keepdim=True) == best).double().mean(),
    }
    return {name: float(f"{value:.3g}") for name, value in found.items()}


def main() -> None:
    """Print, and perhaps keep, every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-python", metavar="PATH")
    parser.add_argument("--out", metavar="FILE")
    asked = parser.parse_args()
    pieces, exact = logits(dtype="float32")
    rows = {name: compared(logits(dtype="bfloat16", prefer=[name])[1], exact) for name in ("cpu", "vnni")}
    for op in PRODUCTS:
        pins = {**dict.fromkeys(PRODUCTS, "cpu"), op: "vnni"}  # all: a fused op with a pinned part would be composed
        rows[f"{op} alone of vnni"] = compared(logits(dtype="bfloat16", prefer=["cpu"], pins=pins)[1], exact)
    if asked.llama_python:
        rows["llama.cpp"] = compared(peer(asked.llama_python, pieces), exact)
    report = {"positions": len(exact), "against float32": rows}
    print(json.dumps(report, indent=1))
    save(asked.out, report)


if __name__ == "__main__":
    main()
