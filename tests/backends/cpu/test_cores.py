"""How many threads: physical cores, within the process's affinity and its control group's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from rustinfer.backends.cpu import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four CPUs on two cores (0 and 2, 1 and 3), no quota."""
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        at = tmp_path / "system" / f"cpu{cpu}" / "topology"
        at.mkdir(parents=True)
        (at / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.setattr(cores, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(cores, "GROUP", tmp_path / "group")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    return tmp_path


def quota(machine: Path, text: str) -> None:
    (machine / "group").mkdir()
    (machine / "group" / "cpu.max").write_text(text)


def test_siblings_count_once(machine: Path) -> None:
    assert cores.physical_cores() == 2


def test_affinity_limits(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3})
    assert cores.physical_cores() == 1


@pytest.mark.parametrize(("text", "count"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 2), ("", 2)])
def test_quota_limits(machine: Path, text: str, count: int) -> None:
    quota(machine, text)
    assert cores.physical_cores() == count


def test_older_control_groups(machine: Path) -> None:
    at = machine / "group" / "cpu"
    at.mkdir(parents=True)
    (at / "cpu.cfs_quota_us").write_text("100000")
    (at / "cpu.cfs_period_us").write_text("100000")
    assert cores.physical_cores() == 1
    (at / "cpu.cfs_quota_us").write_text("-1")
    assert cores.physical_cores() == 2


def test_unknown_topology_counts_cpus(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "SYSTEM", machine / "nowhere")
    assert cores.physical_cores() == 4


def test_set_threads_tells_torch_and_the_kernels() -> None:
    from rustinfer.backends.cpu.library import library, missing

    if reason := missing():
        pytest.skip(reason)
    before = torch.get_num_threads()
    try:
        assert cores.set_threads(3) == 3
        assert (torch.get_num_threads(), library().ri_threads()) == (3, 3)
        assert cores.set_threads() == cores.physical_cores() == library().ri_threads()
    finally:
        torch.set_num_threads(before)
