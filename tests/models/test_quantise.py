"""Weights packed at load."""

from __future__ import annotations

import pytest
import torch

from rustinfer.flags import QUANTIZATIONS
from rustinfer.models.errors import CheckpointError
from rustinfer.models.quantise import SCHEMES, Quantised
from rustinfer.registry import FP8, INT4, INT8, PackedWeight

# What the roundings alone cost on Gaussian weights, as a share of their deviation.
ERRORS = {"int8": 0.012, "fp8": 0.028, "fp8-block": 0.028, "int4": 0.095}


def gaussian(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) * 0.02


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("rows", "columns"), [(96, 256), (200, 128), (130, 96), (3, 33)])
def test_unpacks_to_nearly_what_was_packed(scheme: str, rows: int, columns: int) -> None:
    weight = gaussian(rows, columns)
    packed = SCHEMES[scheme](weight)
    assert packed.shape == weight.shape
    assert packed.dtype == weight.dtype
    error = (packed.dequantise() - weight).std() / weight.std()
    assert 0 < error < ERRORS[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_zeros_and_outliers(scheme: str) -> None:
    weight = gaussian(128, 128)
    weight[5] = 0
    weight[7, 3] = 4.0
    got = SCHEMES[scheme](weight).dequantise()
    assert got[7, 3] == pytest.approx(4.0, rel=0.07)
    assert got[5].abs().max() <= (0 if scheme != "fp8-block" else 1e-9)


def test_fp8_blocks_have_one_scale_for_128_rows() -> None:
    scales = SCHEMES["fp8-block"](gaussian(256, 256)).scales
    assert scales.shape == (256, 2)
    assert (scales[:128] == scales[:1]).all()
    assert not torch.equal(scales[0], scales[128])


def test_the_vocabulary_is_int8_and_vectors_are_left() -> None:
    names = {"model.embed_tokens.weight": gaussian(97, 64), "model.norm.weight": torch.ones(64),
             "lm_head.weight": gaussian(97, 64), "model.layers.0.mlp.down_proj.weight": gaussian(64, 192)}  # fmt: skip
    weights = Quantised(names, "int4")
    kinds = {name: getattr(weight, "format", None) for name, weight in weights.items()}
    assert list(kinds.values()) == [INT8, None, INT8, INT4]
    assert "lm_head.weight" in weights
    assert len(weights) == 4


def test_packed_weights_are_refused() -> None:
    packed = SCHEMES["fp8"](gaussian(8, 32))
    assert isinstance(packed, PackedWeight)
    assert packed.format is FP8
    with pytest.raises(CheckpointError, match="is packed as fp8: --quantization is for dense weights"):
        Quantised({"a.weight": packed}, "int8")["a.weight"]


def test_the_flag_names_every_scheme() -> None:
    assert set(QUANTIZATIONS) == set(SCHEMES)
