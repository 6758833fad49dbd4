"""Which algorithm computes a product of some shape fastest here: timed once, and kept on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from ...cache import cache_root, keep
from .lt import Algorithm, Product, library

log = logging.getLogger(__name__)
TORCH = ""  # stands for the rival of a contest, mostly torch's own choice


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
            keep(self.path, json.dumps(self._known, indent=1, sort_keys=True).encode())
        except OSError as error:
            log.warning("the choice of matrix products could not be kept in %s: %s", self.path, error)


@cache
def choices() -> Choices:
    """Those of the GPU that is here."""
    name = torch.cuda.get_device_name().replace(" ", "-").replace("/", "-")
    return Choices(cache_root() / "cublaslt" / f"{name}-{library().cublasLtGetVersion()}.json")


def key_of(product: Product, word: str = "") -> str:
    """What a choice depends on, beside device and library. The word tells what is done with the product."""
    outputs, columns = product.weight.shape
    kinds = [str(dtype).removeprefix("torch.") for dtype in (product.weight.dtype, product.out_dtype)]
    more = (" bias" if product.bias is not None else "") + (f" {product.shares} shares" if product.shares > 1 else "")
    more += f" {word}" if word else ""
    return f"{product.rows}x{outputs}x{columns} {' '.join(kinds)}{more}"


def choose(
    product: Product, known: Choices, contest: Callable[[], Algorithm | None], word: str = ""
) -> Algorithm | None:
    """The algorithm to use, or None where the contest's rival is as fast as any. What it comes to is remembered."""
    key = key_of(product, word)
    kept = known.get(key)
    if kept == TORCH:
        return None
    if kept is not None and product.suits(algorithm := Algorithm.from_buffer_copy(bytes.fromhex(kept))):
        return algorithm
    best = contest()
    known.put(key, TORCH if best is None else bytes(best).hex())
    return best
