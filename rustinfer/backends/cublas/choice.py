"""Which algorithm computes a product of some shape fastest here: timed once, and kept on disk."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ...cache import cache_root
from .lt import WORKSPACE, Algorithm, LtError, Product, library

log = logging.getLogger(__name__)
Run = Callable[[], object]
ROUNDS = 5
WORTH = 0.97  # of the time that torch's own choice takes: less is not told apart from noise
FLUSH = 96 << 20  # bytes written between runs: in a step, weights come from memory, not from the cache
TORCH = ""  # stands for torch's own choice


class Choices:
    """A file of choices for one device and one version of the library: by product, an algorithm's bytes in hex."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            read = json.loads(path.read_text())
        except (OSError, ValueError):
            read = None
        self._known: dict[str, str] = read if isinstance(read, dict) else {}

    def get(self, key: str) -> str | None:
        """What was chosen; None: nothing yet."""
        return self._known.get(key)

    def put(self, key: str, chosen: str) -> None:
        """Remember, and write the file anew; where that cannot be done, the next start times again."""
        self._known[key] = chosen
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as scratch:
                json.dump(self._known, scratch, indent=1, sort_keys=True)
            Path(scratch.name).replace(self.path)
        except OSError as error:
            log.warning("the choice of matrix products could not be kept in %s: %s", self.path, error)


@cache
def choices() -> Choices:
    """Those of the GPU that is here."""
    name = torch.cuda.get_device_name().replace(" ", "-").replace("/", "-")
    return Choices(cache_root() / "cublas" / f"{name}-{library().cublasLtGetVersion()}.json")


def key_of(product: Product) -> str:
    """What a choice depends on, beside device and library."""
    outputs, columns = product.weight.shape
    kinds = [str(dtype).removeprefix("torch.") for dtype in (product.weight.dtype, product.out_dtype)]
    return f"{product.rows}x{outputs}x{columns} {' '.join(kinds)}{' bias' if product.bias is not None else ''}"


def choose(product: Product, rival: Callable[[Tensor], Tensor], known: Choices) -> Algorithm | None:
    """The algorithm to use, or None where torch's own product, `rival`, is as fast as any."""
    key = key_of(product)
    kept = known.get(key)
    if kept == TORCH:
        return None
    if kept is not None and product.suits(algorithm := Algorithm.from_buffer_copy(bytes.fromhex(kept))):
        return algorithm
    best = fastest(product, rival)
    known.put(key, TORCH if best is None else bytes(best).hex())
    return best


@torch.inference_mode()
def fastest(product: Product, rival: Callable[[Tensor], Tensor]) -> Algorithm | None:
    """Time all that is offered, beside torch's own product."""
    weight = product.weight
    x = torch.randn(product.rows, weight.shape[1], device=weight.device).to(weight.dtype)
    out = torch.empty(product.rows, weight.shape[0], dtype=product.out_dtype, device=weight.device)
    space = torch.empty(WORKSPACE, dtype=torch.uint8, device=weight.device)
    flush = torch.empty(FLUSH, dtype=torch.uint8, device=weight.device)
    limit, best = microseconds(lambda: rival(x), flush) * WORTH, None
    for algorithm in product.offers():
        try:
            took = microseconds(lambda a=algorithm: product.run(a, x, out, space), flush)  # type: ignore[misc]
        except LtError:  # offered, and refused when it is run
            continue
        if took < limit:
            limit, best = took, algorithm
    return best


def microseconds(run: Run, flush: Tensor) -> float:
    """The median time of a run whose data is not in the cache. The first run loads the kernel, and is not timed."""
    run()
    events = []
    for number in range(ROUNDS):
        flush.fill_(number)  # also keeps the device busy until the host has asked for all that is timed
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
        begin.record()
        run()
        end.record()
        events.append((begin, end))
    torch.cuda.synchronize()
    times: list[float] = sorted(begin.elapsed_time(end) * 1e3 for begin, end in events)
    return times[ROUNDS // 2]
