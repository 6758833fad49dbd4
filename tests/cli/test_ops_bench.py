"""`rustinfer ops bench`: sizes, workloads, and what is said of each back end."""

from __future__ import annotations

import inspect
import json
import math

import pytest
import torch

from rustinfer.cli import main as cli
from rustinfer.cli import ops_bench
from rustinfer.cli.ops_workload import WORKLOADS, Maker
from rustinfer.errors import UserError
from rustinfer.registry import load_plugins
from rustinfer.roofline import Roof
from rustinfer.stopwatch import seconds

CPU = torch.device("cpu")
SMALL = {"rows": 3, "columns": 64, "outputs": 96, "hidden": 32, "heads": 4, "kv_heads": 2, "dim": 16, "vocab": 50}


def small(op: str) -> dict[str, int]:
    """Sizes that take no time."""
    wanted = {**SMALL, "sequences": 2, "context": 9}
    return {name: wanted[name] for name in list(inspect.signature(WORKLOADS[op]).parameters)[1:]}


@pytest.mark.parametrize("op", WORKLOADS)
def test_a_workload_is_a_call_of_its_op(op: str) -> None:
    found = load_plugins().registry.ops[op]
    work = WORKLOADS[op](Maker(torch.bfloat16, CPU), **small(op))
    found.reference(*work.flow, **found.complete(dict(work.bound)))
    assert work.nbytes > 0


def test_a_products_bytes_and_operations() -> None:
    work = WORKLOADS["linear"](Maker(torch.bfloat16, CPU), rows=3, columns=64, outputs=96)
    assert work.nbytes == 2 * (3 * 64 + 64 * 96 + 3 * 96)
    assert work.flops == 2 * 3 * 64 * 96
    packed = WORKLOADS["linear"](Maker(torch.bfloat16, CPU, "int8"), rows=3, columns=64, outputs=96)
    assert packed.nbytes == work.nbytes - 64 * 96 + 4 * 96


def test_attention_counts_what_a_causal_mask_leaves() -> None:
    m = Maker(torch.bfloat16, CPU)
    prompt = WORKLOADS["attention"](m, sequences=1, rows=8, context=8, heads=4, kv_heads=2, dim=16)
    assert prompt.flops == 4 * 36 * 4 * 16
    with pytest.raises(UserError, match="rows=9 is more than context=8"):
        WORKLOADS["attention"](m, rows=9, context=8)


@pytest.mark.parametrize("text", ["rows=²", "rows=9999999999", "rows", "rows=0", "rows=x", "width=3"])
def test_sizes_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="write NAME=NUMBER; the sizes of rms_norm are rows=64, columns=2048"):
        ops_bench.parse("rms_norm", text)
    assert ops_bench.parse("rms_norm", "columns=5") == {"rows": 64, "columns": 5}


def test_the_roof_is_the_slower_of_bytes_and_operations() -> None:
    assert Roof(10.0, 100.0).floor(20.0, 100.0) == 2.0
    assert Roof(10.0, 100.0).floor(20.0, 300.0) == 3.0
    assert seconds([lambda: torch.ones(4).sum()], CPU) > 0


def test_a_call_that_takes_longer_than_it_may_is_timed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rustinfer.stopwatch.CPU_SECONDS", -1.0)
    assert 0 < seconds([lambda: torch.ones(4).sum()], CPU) < math.inf


def test_the_table_and_its_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops_bench, "roof", lambda device, dtype: Roof(1e10, 1e12))
    arguments = ["ops", "bench", "linear", "--shape", "rows=2,columns=64,outputs=64", "--device", "cpu"]
    assert cli.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    by_name = {result["back end"]: result for result in found["results"]}
    assert by_name["reference"]["us"] > 0
    assert "refusal" in by_name["torch"]
    assert by_name["cpu"]["of the roof"] > 0
    assert cli.main(arguments) == 0
    assert "the roof, measured here: 10 GB/s" in capsys.readouterr().out


def test_an_op_without_a_workload(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ops", "bench", "penalize"]) != 0
    assert "there is no workload for it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--device", "cuda"], "torch finds no GPU here"),
        (["--device", "cpu", "--shape", "columns=999999999,outputs=999999999"], "more memory than there is"),
    ],
)
def test_what_this_machine_lacks_is_one_line(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli.main(["ops", "bench", "linear", *argv]) in (2, 3)
    assert told in capsys.readouterr().err
