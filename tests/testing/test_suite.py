"""The suite as an author runs it, on back ends that are found by their entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from .toys import MISBEHAVIOURS

pytest_plugins = ["pytester"]
Install = Callable[..., None]
SUITE = ("--pyargs", "rustinfer.testing.suite", "-p", "no:cacheprovider", "-rs")

PLUGIN = """
from rustinfer.registry import Backend, Requires, hookimpl
from tests.testing.toys import accumulate, {fn}

toy = Backend("toy", requires=Requires({requires}){available})
{kernel}

@hookimpl
def rustinfer_backends():
    return [toy]
"""


MISBEHAVING = """
from rustinfer.registry import hookimpl
from tests.testing.toys import MISBEHAVIOURS, backend

@hookimpl
def rustinfer_backends():
    return [backend(fn, name) for name, (fn, words) in MISBEHAVIOURS.items()]
"""


@pytest.fixture
def install(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution whose plugin brings a back end with one kernel."""

    def put(
        fn: str = "good", *, requires: str = '"cpu"', available: str = "", kernel: bool = True, source: str = ""
    ) -> None:
        registered = f"toy.kernel(accumulate)({fn})" if kernel else ""
        plain = PLUGIN.format(fn=fn, requires=requires, available=available, kernel=registered)
        pytester.makepyfile(rustinfer_toy=source or plain)
        info = pytester.mkdir("rustinfer_toy-1.0.dist-info")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rustinfer-toy\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[rustinfer]\ntoy = rustinfer_toy\n")
        pytester.syspathinsert()
        monkeypatch.setenv("RUSTINFER_DISABLE_PLUGINS", "ops,cpu,triton,models")
        monkeypatch.delitem(sys.modules, "rustinfer_toy", raising=False)

    return put


def test_a_good_back_end_passes(pytester: pytest.Pytester, install: Install) -> None:
    install()
    pytester.runpytest_inprocess(*SUITE, "--backend", "toy").assert_outcomes(passed=7)


def test_each_misbehaviour_fails_the_suite(pytester: pytest.Pytester, install: Install) -> None:
    install(source=MISBEHAVING)
    result = pytester.runpytest_inprocess(*SUITE, "-rf", "--tb=no", *(f"--backend={name}" for name in MISBEHAVIOURS))
    failed = [line for line in result.outlines if line.startswith("FAILED")]
    for name in MISBEHAVIOURS:
        dtypes = {
            line.split("]")[0].rsplit("-", 1)[1] for line in failed if f"test_kernel[{name}-accumulate-three" in line
        }
        assert dtypes == {"float32", "float16", "bfloat16"}, name


def test_refused_cases_are_skipped_with_the_refusal(pytester: pytest.Pytester, install: Install) -> None:
    install(requires='"cpu", max_rows=2')
    result = pytester.runpytest_inprocess(*SUITE, "--backend", "toy")
    result.assert_outcomes(passed=4, skipped=3)
    result.stdout.fnmatch_lines(["SKIPPED*takes at most 2 rows, the binding asks for any number"])


def test_a_back_end_that_refuses_everything_fails(pytester: pytest.Pytester, install: Install) -> None:
    install(requires='"cpu", max_rows=0')
    result = pytester.runpytest_inprocess(*SUITE, "--backend", "toy")
    result.assert_outcomes(failed=1, skipped=6)
    result.stdout.fnmatch_lines(["*toy has no kernel that accepts any case here: accumulate: takes at most 0 rows*"])


def test_a_back_end_without_kernels_fails(pytester: pytest.Pytester, install: Install) -> None:
    install(kernel=False)
    result = pytester.runpytest_inprocess(*SUITE, "--backend", "toy")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*it has no kernels at all*"])


def test_an_unavailable_back_end_fails(pytester: pytest.Pytester, install: Install) -> None:
    install(available=', available=lambda: "libtoy.so is missing"')
    result = pytester.runpytest_inprocess(*SUITE, "--backend", "toy")
    result.assert_outcomes(failed=1, skipped=6)
    result.stdout.fnmatch_lines(["*toy is not available: libtoy.so is missing*"])


def test_an_unknown_back_end_is_a_usage_error(pytester: pytest.Pytester, install: Install) -> None:
    install()
    result = pytester.runpytest_inprocess(*SUITE, "--backend", "acme")
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*--backend acme: no such back end; installed: *toy*"])
