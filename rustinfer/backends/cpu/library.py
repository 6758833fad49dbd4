"""The compiled kernels as Python callables: loaded at the first bind, or a reason why they cannot be."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_long, c_void_p
from functools import cache
from typing import Any

import torch

from .compiler import CompileError, compiled, find_compiler

# Pointers (p), integers (i), doubles (d), in the order of the C++ functions' parameters; all return nothing.
SIGNATURES = {
    "ri_set_threads": "i",
    "ri_pack": "ppppi",
    "ri_large_pages": "pi",
    "ri_linear": "ppip",
    "ri_lm_head": "pppip",
    "ri_gate_up": "pppipp",
    "ri_qkv": "pppppppiipp",
    "ri_norm": "ippppdiip",
    "ri_gated": "iipiip",
    "ri_rope": "ipiipppiiip",
    "ri_write_kv": "piipiipppiiii",
    "ri_embedding": "pipip",
    "ri_attention": "ppiipppppiiiiiiip",
    "ri_layers": "ppppppppipii",
    "ri_advance": "pipipiiiipppp",
    "ri_argmax": "piiip",
    "ri_mask": "pipiipi",
    "ri_sample": "piiippppppp",
}
TYPES = {"p": c_void_p, "i": c_long, "d": c_double}


def load() -> tuple[Any, str | None]:
    """Compile if need be, and load: (library, None) or (None, reason)."""
    compiler = find_compiler()
    if compiler is None:
        return None, "no C++ compiler found: install g++ or clang++, or set CXX"
    try:
        loaded = ctypes.CDLL(str(compiled(compiler)))
    except CompileError as error:
        return None, f"{compiler} cannot compile the kernels: {error}"
    except OSError as error:
        return None, f"the compiled kernels cannot be stored or loaded: {error}"
    for name, parameters in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = [TYPES[kind] for kind in parameters], None
    loaded.ri_packed_bytes.argtypes, loaded.ri_packed_bytes.restype = [c_void_p], c_long
    for name in ("ri_threads", "ri_has_integers"):
        getattr(loaded, name).argtypes, getattr(loaded, name).restype = [], c_long
    return loaded, None


_loaded = cache(load)


def missing() -> str | None:
    """Why the kernels cannot run here, or None. Compiles them if that has not been done."""
    return _loaded()[1]


def library() -> Any:
    """The kernels, for builders: only where `missing()` is None. They run on as many threads as torch does by now."""
    kernels = _loaded()[0]
    kernels.ri_set_threads(torch.get_num_threads())
    return kernels


def set_threads(count: int) -> None:
    """Run torch and the kernels bound so far on `count` threads."""
    torch.set_num_threads(count)
    if missing() is None:
        library()
