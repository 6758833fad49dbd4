"""A model with packed weights binds no reference on a GPU: asked of a GPU that need not be here."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: pip install 'rustinfer[cuda]'")

from rustinfer.backends.cublas import cublas
from rustinfer.backends.triton import triton
from rustinfer.models import Parameters
from rustinfer.models.llama import Llama
from rustinfer.models.quantise import SCHEMES, Quantised
from rustinfer.registry import REFERENCE, Backend, Binder, Policy, Target, load_plugins

from ...engine.tiny import checkpoint


def there(backend: Backend) -> Any:
    """The back end as on a machine that has a GPU."""
    return mock.patch.object(backend, "available", return_value=None)


@pytest.mark.parametrize("rows", [1, 8, 64, 256, None, "alike"])
@pytest.mark.parametrize("scheme", [*SCHEMES, "dense"])
def test_every_site_has_a_kernel(scheme: str, rows: int | str | None) -> None:
    made = checkpoint(hidden_size=64)
    weights = made.weights if scheme == "dense" else Quantised(made.weights, scheme)
    target = Target(torch.device("cuda"), torch.float32, sm=(9, 0), invariant=rows == "alike")
    place = target.decoding(rows) if isinstance(rows, int) else target
    cache = [(torch.zeros(4, 2, 16, 16), torch.zeros(4, 2, 16, 16)) for _ in range(2)]
    with there(triton), there(cublas):
        binder = Binder(load_plugins().registry, place, Policy(strict=True))
        # Rotary table and row numbers are made where the target is: on the GPU that is not here.
        table = (torch.zeros(256, 8), torch.zeros(256, 8))
        with (
            mock.patch("rustinfer.models.llama.rotary_table", return_value=table),
            mock.patch("rustinfer.ops.decode.row_numbers", return_value=torch.arange),
        ):
            Llama(made.config, binder, Parameters(weights), cache)
    bound = [b for b in binder.bindings if b.op.composition is None]
    assert {"embedding", "attention", "linear", "lm_head"} <= {b.op.name for b in bound}
    assert REFERENCE not in {b.backend for b in bound}
    if scheme != "dense" or rows == "alike":
        # A library would keep a dense copy.
        assert {b.backend for b in bound if b.op.name == "linear"} == {"triton"}
