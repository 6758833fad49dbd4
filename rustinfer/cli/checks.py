"""What `rustinfer doctor` looks at. Each check returns its findings and raises nothing for what it finds."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import bytecode
from ..cache import cache_root
from ..errors import UserError
from ..settings import PREFIX, check
from .facts import CPUINFO, cpu

ENOUGH = 2 * 2**30  # bytes: room for a small model and compiled kernels


@dataclass(frozen=True)
class Finding:
    """One line: state is "ok", "warn" (works, but slower or with less) or "fail" (serving will not work)."""

    state: str
    what: str
    found: str
    advice: str = ""


def all_checks(port: int) -> list[Finding]:
    """Every finding, in the order in which a person would ask."""
    machine = [python(), torch_found(), compiled(), *processor(), compiler(), gpu(), cache(), models()]
    return [*machine, *plugins(), environment(), free_port(port)]


def python() -> Finding:
    return Finding("ok", "python", f"{platform.python_version()} at {sys.executable}")


def torch_found() -> Finding:
    """PyTorch, and that it imports."""
    try:
        import torch
    except Exception as error:  # a broken install fails in many ways, and each is what the user wants to read
        return Finding("fail", "torch", f"{type(error).__name__}: {error}", "install torch 2.11 or newer")
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < (2, 11):
        return Finding("fail", "torch", torch.__version__, "install torch 2.11 or newer")
    return Finding("ok", "torch", torch.__version__)


def compiled() -> Finding:
    """Python's bytecode of torch: kept by whoever installed torch, by Python, or by us in our cache."""
    folder = bytecode.lost("torch")
    if folder is None:
        return Finding("ok", "bytecode", "torch is compiled once")
    found = f"{folder} has none, and PYTHONDONTWRITEBYTECODE is set: each start compiles torch, for seconds"
    return Finding("warn", "bytecode", found, f"unset it, or run python -m compileall -q {folder.parent}")


def processor(cpuinfo: Path = CPUINFO) -> Iterator[Finding]:
    """Cores, and the instructions that the CPU kernels can use."""
    from ..engine.machine import free_memory, physical_cores

    yield Finding("ok", "cores", f"{physical_cores()} physical, {free_memory() / 2**30:.1f} GiB of memory free")
    _, has = cpu(cpuinfo)
    if "avx2" in has or platform.machine() in ("aarch64", "arm64"):
        yield Finding("ok", "cpu", ", ".join(has) or platform.machine())
    else:
        yield Finding("warn", "cpu", platform.machine(), "no AVX2: packed weights will run slowly")


def compiler() -> Finding:
    """A C++ compiler: the CPU kernels are compiled when first used."""
    for name in filter(None, (os.environ.get("CXX"), "g++", "c++", "clang++")):
        if path := shutil.which(name):
            return Finding("ok", "compiler", path)
    return Finding(
        "warn", "compiler", "none", "install g++ or clang++: without it the CPU back end runs slower kernels"
    )


def gpu() -> Finding:
    """A CUDA device that this torch can use."""
    try:
        import torch
    except Exception:  # what is wrong with it is a finding of its own
        return Finding("warn", "gpu", "unknown: torch cannot be imported")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("ok", "gpu", ", ".join(names))
    if shutil.which("nvidia-smi"):
        built = torch.version.cuda or "the CPU only"
        return Finding(
            "warn", "gpu", f"a driver is here, but torch is built for {built}", "install a CUDA build of torch"
        )
    return Finding("ok", "gpu", "none: models run on the CPU")


def cache() -> Finding:
    """That the cache can be written, and has room."""
    folder = cache_root()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        return Finding("fail", "cache", f"{folder} cannot be written", "set RUSTINFER_CACHE to a folder of yours")
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < ENOUGH:
        return Finding("warn", "cache", found, "little room for models: free some, or set RUSTINFER_CACHE elsewhere")
    return Finding("ok", "cache", found)


def models() -> Finding:
    found = sorted({path.name for path in cache_root().rglob("*.gguf")})
    if found:
        return Finding("ok", "models", ", ".join(found))
    return Finding("ok", "models", "none yet: the first `rustinfer serve smollm2` fetches the default one")


def plugins() -> Iterator[Finding]:
    """One line for those that loaded, and one for each that did not."""
    from .plugins import collect

    try:
        records = collect()
    except Exception as error:
        yield Finding("fail", "plugins", f"{type(error).__name__}: {error}", "reinstall rustinfer")
        return
    # A name may stand for formats of several kinds.
    loaded = dict.fromkeys(record.name for record in records if record.state == "loaded")
    yield Finding("ok", "plugins", ", ".join(loaded) or "none loaded")
    for record in records:
        if record.state == "failed":
            own = record.distribution == "rustinfer"
            advice = "reinstall rustinfer" if own else f"update or remove {record.distribution or record.value}"
            yield Finding("fail" if own else "warn", f"plugin {record.name}", record.error, advice)


def environment() -> Finding:
    """That every variable of ours means something: with one that does not, nothing is served."""
    try:
        check(os.environ)
    except UserError as error:
        return Finding("fail", "environment", str(error), "unset it")
    ours = sorted(name for name in os.environ if name.startswith(PREFIX))
    return Finding("ok", "environment", ", ".join(ours) or f"no {PREFIX}* is set")


def free_port(port: int) -> Finding:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            return Finding("warn", f"port {port}", str(error), "serve elsewhere with --port")
    return Finding("ok", f"port {port}", "free")
