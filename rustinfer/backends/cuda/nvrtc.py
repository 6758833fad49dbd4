"""Compile CUDA C++ by NVRTC, once: the binary is kept on disk under a digest of all that it depends on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...cache import cache_root, digest, keep
from ...registry import Refusal

log = logging.getLogger(__name__)
SOURCES = Path(__file__).parent / "kernels"
OPTIONS = ("--std=c++17", "-default-device", "--ptxas-options=-v")


class CompileError(Exception):
    """NVRTC did not accept a source; the message is its first complaint."""


@dataclass(frozen=True)
class Binary:
    """Machine code for one architecture, and what the compiler said of registers and spills (empty from the cache)."""

    code: bytes
    log: str


def missing() -> Refusal:
    """What is not installed, or None."""
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        return "cuda-python is not installed: pip install 'rustinfer[cuda]'"
    return None


def compiled(source: str, defines: Mapping[str, int], sm: tuple[int, int]) -> Binary:
    """A file of `kernels/`, from the cache or newly compiled. Raises CompileError."""
    options = _options(defines, sm)
    key = digest(SOURCES.iterdir(), source, *options, *map(str, version()))
    path = directory() / f"{Path(source).stem}-{key}.cubin"
    if path.exists():
        return Binary(path.read_bytes(), "")
    made = compile_source(source, defines, sm)
    keep(path, made.code)  # a process that compiled at the same time made the same file
    return made


def compile_source(source: str, defines: Mapping[str, int], sm: tuple[int, int]) -> Binary:
    """A file of `kernels/`, compiled now. No GPU is needed. Raises CompileError."""
    from cuda.bindings import nvrtc

    log.info("compiling %s for sm_%d%d (once; kept in %s)", source, *sm, directory())
    text = (SOURCES / source).read_bytes()
    program = _checked(nvrtc.nvrtcCreateProgram(text, source.encode(), 0, [], []))
    options = [option.encode() for option in (*_options(defines, sm), f"-I{SOURCES}")]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    said = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program))
    nvrtc.nvrtcGetProgramLog(program, said)
    words = said.decode(errors="replace").strip("\0 \n")
    if int(status):
        raise CompileError(next((line for line in words.splitlines() if "error" in line), words or str(status)))
    code = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program))
    nvrtc.nvrtcGetCUBIN(program, code)
    nvrtc.nvrtcDestroyProgram(program)
    return Binary(code, words)


def directory() -> Path:
    """Where binaries are kept."""
    return cache_root() / "cuda"


@cache
def version() -> tuple[int, int]:
    """NVRTC's version."""
    from cuda.bindings import nvrtc

    major, minor = _checked(nvrtc.nvrtcVersion())
    return int(major), int(minor)


def architecture(sm: tuple[int, int]) -> str:
    """The name of a compute capability. From Hopper on a chip has instructions of its own, marked by an a."""
    return f"sm_{sm[0]}{sm[1]}{'a' if sm >= (9, 0) else ''}"


def _options(defines: Mapping[str, int], sm: tuple[int, int]) -> tuple[str, ...]:
    return (
        f"--gpu-architecture={architecture(sm)}",
        *OPTIONS,
        *(f"-D{name}={value}" for name, value in defines.items()),
    )


def _checked(result: tuple[Any, ...]) -> Any:
    """The values of a call into the library. Raises CompileError unless it succeeded."""
    if int(result[0]):
        raise CompileError(f"NVRTC failed: {result[0]}")
    return result[1] if len(result) == 2 else result[1:]
