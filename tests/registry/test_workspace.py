"""Scratch that kernels share."""

from __future__ import annotations

import pytest
import torch

from rustinfer.registry import Target, Workspace

CPU = torch.device("cpu")


def test_a_region_is_shared_by_name_and_stays_where_it_is() -> None:
    space = Workspace()
    first = space.scratch(CPU, "sums", 100)
    assert first.shape == (100,)
    assert space.scratch(CPU, "sums", 40).data_ptr() == first.data_ptr()
    assert space.scratch(CPU, "peaks", 40).data_ptr() != first.data_ptr()
    assert space.scratch(CPU, "sums", 40, torch.float16).data_ptr() != first.data_ptr()
    assert space.nbytes == 400 + 160 + 80


def test_whoever_asks_again_gets_the_very_same() -> None:
    space = Workspace()
    assert space.scratch(CPU, "sums", 10) is space.scratch(CPU, "sums", 10)
    assert space.counters(CPU, 10) is space.counters(CPU, 10)


def test_an_outgrown_region_is_kept_for_graphs_that_know_it() -> None:
    space = Workspace()
    small = space.scratch(CPU, "sums", 10)
    large = space.scratch(CPU, "sums", 1000)
    assert large.data_ptr() != small.data_ptr()
    assert space.scratch(CPU, "sums", 10).data_ptr() == large.data_ptr()
    assert space.nbytes == 4040


def test_graphs_share_one_pool_whose_size_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    space, handles = Workspace(), iter([(7, 0), (8, 0)])
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    monkeypatch.setattr(torch.cuda, "memory_snapshot", {(7, 0): [{"total_size": 3}, {"total_size": 4}]}.__getitem__)
    assert space.pool_nbytes == 0
    assert space.pool == (7, 0)
    assert space.pool == (7, 0)
    assert space.pool_nbytes == 7


def test_counters_are_zero_at_any_size() -> None:
    space = Workspace()
    assert not space.counters(CPU, 5).any()
    assert not space.counters(CPU, 5000).any()
    assert space.counters(CPU, 7).dtype == torch.int32


def test_targets_made_of_one_share_its_workspace_and_equality_ignores_it() -> None:
    target = Target(CPU, torch.float32)
    assert target.decoding(8).workspace is target.workspace
    other = Target(CPU, torch.float32)
    assert other.workspace is not target.workspace
    assert other == target
    assert hash(other) == hash(target)
