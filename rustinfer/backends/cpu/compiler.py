"""Compile the C++ kernels for this very machine, once; the result is cached by everything it depends on.

`python -m rustinfer.backends.cpu` does it ahead of the first start.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...cache import cache_root, digest

log = logging.getLogger(__name__)
SOURCES = Path(__file__).parent / "kernels"
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-pthread", "-w")
MACHINE = "-mcpu=native" if platform.machine() in {"aarch64", "arm64"} else "-march=native"


class CompileError(Exception):
    """The compiler is there, but did not accept the kernels; the message is its first complaint."""


def find_compiler() -> str | None:
    """The C++ compiler to use: $CXX, else g++, else clang++; None if there is none."""
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    return None


def compiled(compiler: str, sources: Path = SOURCES) -> Path:
    """The shared library, from the cache or newly made. Raises CompileError."""
    path = cache() / f"kernels-{_key(compiler, sources)}.so"
    if not path.exists():
        log.info("compiling the CPU kernels with %s (once; kept in %s)", compiler, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            made = _compile(compiler, sources, Path(scratch))
            made.replace(path)  # a process that compiled at the same time made the same file
    return path


def cache() -> Path:
    """Where compiled kernels are kept."""
    return cache_root() / "cpu"


def _compile(compiler: str, sources: Path, scratch: Path) -> Path:
    def one(source: Path) -> Path:
        made = scratch / f"{source.stem}.o"
        _run(compiler, *FLAGS, MACHINE, "-c", str(source), "-o", str(made))
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(one, sorted(sources.glob("*.cpp"))))
    library = scratch / "kernels.so"
    _run(compiler, "-shared", "-pthread", *map(str, objects), "-o", str(library))
    return library


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        raise CompileError(next((line for line in lines if "error" in line), lines[0]))


def _key(compiler: str, sources: Path) -> str:
    """A digest of the sources, the flags, the compiler's version and this machine's CPU."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    files = [*sources.glob("*.cpp"), *sources.glob("*.h")]
    return digest(files, *FLAGS, MACHINE, compiler, version, _cpu())


def _cpu() -> str:
    """What -march=native may look at: the CPU's model and its features."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    wanted = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    lines = text.split("\n\n", 1)[0].splitlines()
    return "\n".join(line for line in lines if line.split("\t", 1)[0].split(":")[0].strip() in wanted)


def main() -> int:
    """Compile, or say why not. A machine without a compiler is no failure: it takes other kernels."""
    compiler = find_compiler()
    if compiler is None:
        sys.stdout.write("no C++ compiler found: the CPU runs plain torch\n")
        return 0
    start = time.perf_counter()
    try:
        path = compiled(compiler)
    except CompileError as error:
        sys.stderr.write(f"error: {compiler} cannot compile the CPU kernels: {error}\n")
        return 1
    sys.stdout.write(f"CPU kernels: {path} ({time.perf_counter() - start:.1f} s)\n")
    return 0
