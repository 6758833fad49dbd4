"""Installed, the package is found. Its numbers are held against transformers' in tests/plugins/test_qwen3.py."""

from __future__ import annotations

from rustinfer_qwen3 import Qwen3

from rustinfer.registry import load_plugins


def test_the_architecture_is_found_by_the_entry_point() -> None:
    loaded = load_plugins(strict=True)
    assert loaded.registry.models["Qwen3ForCausalLM"] is Qwen3
    assert loaded.registry.owner("model", "Qwen3ForCausalLM") == "qwen3"
