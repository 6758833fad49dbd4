"""What makes a start shorter leaves the process as it was."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rustinfer.engine.ahead import collector_at_rest, open_gpu
from rustinfer.engine.build import load
from rustinfer.engine.options import Options

from .tiny import save


def test_the_collector_rests_until_all_is_loaded_or_has_failed() -> None:
    def load() -> None:
        with collector_at_rest():
            assert not gc.isenabled()
            raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        load()
    assert gc.isenabled()


def test_the_first_gpu_is_opened_beside_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    retained: list[int] = []
    multiplied: list[object] = []

    def retain(context: object, gpu: int) -> int:
        retained.append(gpu)
        return 0

    driver = SimpleNamespace(cuInit=lambda flags: flags, cuDevicePrimaryCtxRetain=retain)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *shape, dtype, device: (dtype, device))
    monkeypatch.setattr(torch, "mm", lambda *matrices: multiplied.append(matrices))
    thread = open_gpu("auto")
    assert thread is not None
    thread.join(10)
    assert retained == [0]
    assert multiplied == [((torch.bfloat16, "cuda"),) * 2]
    # A daemon that is in the midst of this when the interpreter ends would take it down: a refused start says why.
    assert not thread.daemon


def test_triton_is_hashed_beside_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = threading.Event()
    monkeypatch.setitem(sys.modules, "triton.runtime.cache", SimpleNamespace(triton_key=hashed.set))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cuInit=lambda flags: 100))
    open_gpu("auto")
    assert hashed.wait(10)


def test_without_a_gpu_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_gpu("cpu") is None
    retained: list[object] = []
    driver = SimpleNamespace(cuInit=lambda flags: 100, cuDevicePrimaryCtxRetain=lambda *a: retained.append(a))
    for found in (lambda name: driver, missing):
        monkeypatch.setattr(ctypes, "CDLL", found)
        thread = open_gpu("auto")
        assert thread is not None
        thread.join(10)
    assert not retained


def test_who_keeps_the_collector_off_finds_it_off() -> None:
    gc.disable()
    try:
        with collector_at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(("whole", "does"), [(True, ["collect", "freeze"]), (False, ["freeze"])])
def test_a_process_of_our_own_is_not_searched_for_garbage_before_it_serves(
    whole: bool, does: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, done = str(save(tmp_path / "tiny")), list[str]()
    for name in ("collect", "freeze"):
        monkeypatch.setattr(gc, name, lambda name=name: done.append(name + " on" * gc.isenabled()))
    load(model, Options(device="cpu", threads=1), chores=whole)
    assert done == does
    assert gc.isenabled()


def missing(name: str) -> object:
    raise OSError(name)
