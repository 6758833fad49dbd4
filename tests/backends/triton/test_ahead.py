"""What is begun beside a start is begun on a GPU alone."""

from __future__ import annotations

import pytest
import torch

from rustinfer.backends.triton.ahead import hash_triton


def test_triton_is_hashed_beside_a_start_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = pytest.importorskip("triton.runtime.cache")
    asked: list[str] = []
    monkeypatch.setattr(cache, "triton_key", lambda: asked.append("key"))
    for there, wanted in ((False, []), (True, ["key"])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        thread = hash_triton()
        if thread:
            thread.join(10)
        assert asked == wanted
