"""`rustinfer plan`: figures that follow from a checkpoint's shape, kernels, and nothing fetched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from rustinfer.cli import main as cli
from rustinfer.engine.forecast import Forecast
from rustinfer.engine.sizing import Size
from rustinfer.registry import Target, load_plugins
from rustinfer.roofline import Roof
from tests.engine.tiny import save


def test_a_small_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save(tmp_path / "tiny")
    flags = ["--kv-cache-tokens=1024", "--max-num-seqs=4", "--max-num-batched-tokens=64", "--device=cpu"]
    assert cli.main(["plan", str(model), *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cache, tokens"] == 1024
    assert found["context"] == 256
    assert found["concurrency"] == 4
    assert found["speed of one"] > 0
    assert {"embedding", "attention"} <= {row["op"] for row in found["kernels"]}
    assert {row["steps"] for row in found["kernels"]} == {"any", "decode, up to 4"}
    assert cli.main(["plan", str(model), *flags]) == 0
    assert "memory bandwidth" in capsys.readouterr().out


def test_scratch_is_what_the_kernels_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, rows = load_plugins(), []
    kernel = loaded.registry.backends["cpu"].kernels["add_rms_norm"]

    def build(target: Target, **bound: Any) -> Any:
        inner = kernel.build(target, **bound)

        def call(x: Tensor, residual: Tensor) -> Any:
            rows.append(len(x))
            target.workspace.scratch(target.device, "here", (1 << 18) * len(x))
            return inner(x, residual)

        return call

    monkeypatch.setitem(loaded.registry.backends["cpu"].kernels, "add_rms_norm", replace(kernel, build=build))
    monkeypatch.setattr("rustinfer.registry.load_plugins", lambda: loaded)
    model = save(tmp_path / "tiny")
    assert cli.main(["plan", str(model), "--device=cpu", "--max-num-seqs=4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scratch of the kernels"] == max(rows) == 64


def test_the_bound_is_bytes_over_bandwidth() -> None:
    made = Forecast(
        weights=1000,
        stored=1500,
        token=10,
        free=0,
        size=Size(64, 8),
        page=16,
        sequences=4,
        scratch=0,
        roof=Roof(1e6),
        bindings=(),
    )
    assert made.bound(1, 0) == 1000
    assert made.bound(2, 50) == 2 * 1e6 / 2000
    assert made.cache == 8 * 16 * 10
    assert made.concurrency == 2


def test_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path))
    assert cli.main(["plan", "smollm2"]) == 2
    assert "rustinfer pull smollm2" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
