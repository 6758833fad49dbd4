"""How fast a checkpoint in the page cache comes to the GPU: `python -m benchmarks.gpu.loading --out FILE`.

Writes a Llama 3.2 1B of random weights to a temporary directory, reads it once so that it is cached, then times all
of its weights onto the GPU, as the engine takes them; and by mapping the file, for comparison.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from rustinfer.cli.facts import save
from rustinfer.models.dummy import open_shape
from rustinfer.models.shards import Shards

GPU = torch.device("cuda")


def timed(directory: Path, ahead: bool) -> float:
    """Seconds from opening the files to the last weight on the GPU."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    shards = Shards(directory).to(torch.bfloat16, GPU)
    if not ahead and shards._ahead:
        shards._ahead.close()
        start = time.perf_counter()
    held = [shards[name] for name in shards]
    torch.cuda.synchronize()
    took = time.perf_counter() - start
    del held
    return took


def main() -> None:
    """Print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.zeros(1, device=GPU)
    made = open_shape("llama-3.2-1b", torch.bfloat16, GPU)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        weights = {key: made.weights[key].cpu() for key in made.weights}
        size = sum(w.nbytes for w in weights.values())
        save_file(weights, directory / "model.safetensors")
        (directory / "model.safetensors").read_bytes()
        report = {
            "GB": size / 1e9,
            "read ahead the first time, s": timed(directory, ahead=True),
            "read ahead, s": min(timed(directory, ahead=True) for _ in range(3)),
            "mapped, s": timed(directory, ahead=False),
            "device": torch.cuda.get_device_name(),
        }
    print(report)
    save(asked.out, report)


if __name__ == "__main__":
    main()
