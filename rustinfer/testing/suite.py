"""The conformance suite: `pytest --pyargs rustinfer.testing.suite --backend NAME` judges every kernel of a back end.

A case that a kernel refuses is skipped, with the refusal as the reason. Without `--backend`, all installed ones.
"""

from __future__ import annotations

import pytest

from rustinfer.registry import Backend, Registry, load_plugins

from .points import Point, points, select

REGISTRY = pytest.StashKey[Registry]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each back end, and one for each kernel, case and dtype."""
    try:
        backends = select(registry(metafunc.config), metafunc.config.getoption("--backend"))
    except LookupError as error:
        raise pytest.UsageError(str(error)) from None
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", backends, ids=lambda backend: backend.name)
    if "point" in metafunc.fixturenames:
        metafunc.parametrize("point", [p for backend in backends for p in points(backend)], ids=str)


def registry(config: pytest.Config) -> Registry:
    """What is installed, loaded once a run."""
    if REGISTRY not in config.stash:
        config.stash[REGISTRY] = load_plugins().registry
    return config.stash[REGISTRY]


def test_back_end_has_a_kernel_that_runs_here(backend: Backend) -> None:
    """A suite that skips everything must not look like one that passed."""
    reason = backend.missing()
    assert reason is None, f"{backend.name} is not available: {reason}"
    refusals = set()
    for point in points(backend):
        refusal = point.refusal()
        if refusal is None:
            return
        refusals.add(f"{point.kernel.op.name}: {refusal}")
    why = "; ".join(sorted(refusals)) or "it has no kernels at all"
    pytest.fail(f"{backend.name} has no kernel that accepts any case here: {why}")


def test_kernel(point: Point) -> None:
    """The kernel does what its op says."""
    if reason := point.refusal():
        pytest.skip(reason)
    point.test()
