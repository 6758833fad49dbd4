"""Compiling the kernels: once for each machine, compiler and source; and said plainly where it cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from rustinfer.backends.cpu import compiler, library

SOURCE = 'extern "C" long answer() { return 42; }\n'


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one tiny source, and a cache of its own."""
    monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "kernels"
    made.mkdir()
    (made / "answer.cpp").write_text(SOURCE)
    return made


@pytest.fixture
def cxx() -> str:
    """This machine's compiler."""
    found = compiler.find_compiler()
    if found is None:
        pytest.skip("no C++ compiler")
    return found


def test_second_start_compiles_nothing(cxx: str, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiler.compiled(cxx, sources)
    monkeypatch.setattr(compiler, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compiler.compiled(cxx, sources) == first
    assert [p.name for p in first.parent.iterdir()] == [first.name]


@pytest.mark.parametrize("change", ["source", "flags", "cpu"])
def test_what_the_library_depends_on_makes_another(
    cxx: str, sources: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first = compiler.compiled(cxx, sources)
    if change == "source":
        (sources / "answer.cpp").write_text(SOURCE.replace("42", "43"))
    elif change == "flags":
        monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-DX"))
    else:
        monkeypatch.setattr(compiler, "_cpu", lambda: "another machine")
    assert compiler.compiled(cxx, sources) != first


def test_compiler_error_is_one_line(cxx: str, sources: Path) -> None:
    (sources / "answer.cpp").write_text("int x = nonsense;\n")
    with pytest.raises(compiler.CompileError, match="nonsense") as raised:
        compiler.compiled(cxx, sources)
    assert "\n" not in str(raised.value)


def test_without_a_compiler_the_back_end_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    loaded, reason = library.load()
    assert loaded is None
    assert reason == "no C++ compiler found: install g++ or clang++, or set CXX"


def test_cache_that_cannot_be_written_is_a_reason(cxx: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path / "file"))
    loaded, reason = library.load()
    assert loaded is None
    assert "cannot be stored or loaded" in str(reason)


def test_ahead_of_the_first_start(cxx: str, sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled = compiler.compiled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "compiled", lambda found: compiled(found, sources))
        assert compiler.main() == 0
        assert "kernels-" in capsys.readouterr().out
        (sources / "answer.cpp").write_text("int x = nonsense;\n")
        assert compiler.main() == 1
        assert "nonsense" in capsys.readouterr().err
        patch.setattr(compiler, "find_compiler", lambda: None)
        assert compiler.main() == 0
