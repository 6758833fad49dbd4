"""`rustinfer ops check`: the conformance suite on one back end."""

from __future__ import annotations

import importlib.util
from argparse import Namespace

from ..errors import Refused
from ..registry import UnknownBackendError, UnknownOpError, load_plugins


def run(args: Namespace) -> int:
    """Run `pytest --pyargs rustinfer.testing.suite --backend BACKEND` and return its exit code."""
    backend, ops, registry = args.backend, args.op, load_plugins().registry
    if backend not in registry.backends:
        raise UnknownBackendError(f"no back end named {backend}; installed: {', '.join(sorted(registry.backends))}")
    kernels = registry.backends[backend].kernels
    for op in ops:
        if op not in kernels:
            raise UnknownOpError(f"{backend} has no kernel for {op}; it has {', '.join(sorted(kernels))}")
    if importlib.util.find_spec("pytest") is None:
        raise Refused("the conformance suite runs in pytest, which is not installed: pip install pytest")
    import pytest

    # This process has imported what pytest would have rewritten: that is no news to who checks a back end.
    silent = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    arguments = ["--pyargs", "rustinfer.testing.suite", "--backend", backend, "-q", "--rootdir", ".", *silent]
    # The name of a test is "BACKEND-OP-CASE-DTYPE".
    chosen = ["-k", " or ".join(f"{backend}-{op}-" for op in ops)] if ops else []
    return int(pytest.main([*arguments, *chosen]))
