"""A model that cannot fit is refused before its weights are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rustinfer.engine import headroom
from rustinfer.engine.forecast import forecast
from rustinfer.engine.headroom import least_bytes
from rustinfer.engine.options import Options
from rustinfer.errors import Refused
from rustinfer.flags import QUANTIZATIONS
from rustinfer.models.dummy import open_shape
from rustinfer.models.quantise import Quantised
from rustinfer.registry import load_plugins

from .tiny import checkpoint, load


def test_a_model_without_room_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = least_bytes(checkpoint())
    monkeypatch.setattr(headroom, "free_memory", lambda: needed - 1)
    with pytest.raises(
        Refused, match=r"^tiny: its weights take 0\.0 GiB or more, and .* --quantization int4$"
    ) as error:
        load()
    assert error.value.exit_code == 3
    with pytest.raises(Refused):
        forecast(checkpoint(), Options(device="cpu"), load_plugins())


def test_what_the_weights_take_is_what_they_take() -> None:
    made = checkpoint()
    assert least_bytes(made) == sum(weight.nbytes for weight in made.weights.values())
    assert least_bytes(replace(made, dtype=torch.bfloat16)) == least_bytes(made) // 2


@pytest.mark.parametrize("scheme", QUANTIZATIONS)
def test_packed_weights_take_what_they_take(scheme: str) -> None:
    """And are what a forecast is about: its bytes, its kernels, its bound on speed."""
    made = checkpoint()
    packed = sum(weight.nbytes for weight in Quantised(made.weights, scheme).values())
    assert least_bytes(made, scheme) == packed < least_bytes(made)
    told = forecast(made, Options(device="cpu", quantization=scheme), load_plugins())
    assert told.stored == packed
    assert told.bound(1, 0) > told.roof.bandwidth / least_bytes(made)
    dense = forecast(made, Options(device="cpu"), load_plugins())
    assert [b.rejected for b in told.bindings] != [b.rejected for b in dense.bindings], "a dense weight's kernels"


def test_a_deterministic_engine_is_foretold_its_own_kernels() -> None:
    told = forecast(checkpoint(), Options(device="cpu", deterministic=True), load_plugins())
    assert all(binding.target.invariant for binding in told.bindings)


def test_no_packing_is_advised_that_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    least = least_bytes(checkpoint(), "int4")
    for free, scheme in ((least - 1, None), (least - 1, "int4")):
        monkeypatch.setattr(headroom, "free_memory", lambda free=free: free)
        with pytest.raises(Refused, match=r"take a smaller model$"):
            headroom.require_room(checkpoint(), Options(device="cpu", quantization=scheme))


@pytest.mark.parametrize("name", ["m.gguf", "model-00001.safetensors"])
def test_packed_weights_need_no_more_than_their_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(1000))
    root = tmp_path / name if name == "m.gguf" else tmp_path
    assert least_bytes(replace(checkpoint(), root=str(root))) == 1000


def test_the_largest_shape_is_as_large_as_it_is() -> None:
    assert least_bytes(open_shape("llama-3.1-70b", "auto", torch.device("cpu"))) == 141_107_412_992
