"""Modules are compiled once wherever Python may keep what it compiled."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustinfer.bytecode import keep, lost, missed

PACKAGE = "brought_without_bytecode"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package without bytecode, which may not be written to, beside an empty cache of ours."""
    folder = tmp_path / "site" / PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("word = 'compiled'")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (folder, os.W_OK))
    yield folder
    sys.modules.pop(PACKAGE, None)


def imported() -> str:
    keep(PACKAGE)
    word: str = importlib.import_module(PACKAGE).word
    del sys.modules[PACKAGE]
    return word


def test_what_cannot_be_kept_beside_the_sources_is_kept_in_our_cache(package: Path, tmp_path: Path) -> None:
    assert missed(PACKAGE) == package
    assert lost(PACKAGE) is None  # as long as our cache has it
    assert imported() == "compiled"
    assert not (package / "__pycache__").exists()
    (kept,) = (tmp_path / "cache" / "bytecode").rglob("*.pyc")
    source = package / "__init__.py"
    stamp = source.stat()
    source.write_text("word = 'anew now'")
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # all that Python looks at, with its size
    assert imported() == "compiled"
    assert missed(PACKAGE) is None
    kept.unlink()
    assert imported() == "anew now"


def test_who_forbids_bytecode_is_obeyed(package: Path, tmp_path: Path) -> None:
    sys.dont_write_bytecode = True
    assert imported() == "compiled"
    assert sys.pycache_prefix is None
    assert not (tmp_path / "cache").exists()
    assert lost(PACKAGE) == package


def test_another_place_for_bytecode_is_obeyed(package: Path, tmp_path: Path) -> None:
    sys.pycache_prefix = str(tmp_path / "elsewhere")
    assert imported() == "compiled"
    assert sys.pycache_prefix == str(tmp_path / "elsewhere")


def test_python_keeps_what_it_can(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert imported() == "compiled"
    assert sys.pycache_prefix is None
    assert missed(PACKAGE) is None


def test_what_was_installed_with_bytecode_needs_nothing(package: Path) -> None:
    py_compile.compile(str(package / "__init__.py"))
    assert imported() == "compiled"
    assert sys.pycache_prefix is None


def test_what_is_not_installed_is_not_missed() -> None:
    assert missed("is_not_installed") is None
