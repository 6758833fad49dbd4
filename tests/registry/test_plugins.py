from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rustinfer.registry import Binder, hookimpl, hookspecs, load_plugins, plugins

from .toys import CPU, backend, scale


@dataclass(frozen=True)
class FakePoint:
    """An entry point that loads `plugin`, or raises it."""

    name: str
    plugin: Any
    value: str = "somewhere:plugin"

    def load(self) -> Any:
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


def plugin(**hooks: Any) -> ModuleType:
    made = ModuleType("made")
    for name, hook in hooks.items():
        setattr(made, name, hookimpl(hook) if name.startswith("rustinfer") else hook)
    return made


def toy() -> ModuleType:
    return plugin(
        rustinfer_ops=lambda: [scale],
        rustinfer_backends=lambda: [backend()],
        rustinfer_models=lambda: {"Llama": dict},
    )


def load(*points: FakePoint, **options: Any) -> Any:
    return load_plugins(points, **options)


def states(loaded: Any) -> dict[str, str]:
    return {record.name: record.state for record in loaded.records}


def test_a_plugin_brings_ops_back_ends_and_models() -> None:
    loaded = load(FakePoint("toy", toy()))
    assert list(loaded.registry.ops) == ["scale"]
    assert loaded.records[0].provides == ("op scale", "back end toy", "model Llama")
    assert loaded.records[0].hooks == ("rustinfer_backends", "rustinfer_models", "rustinfer_ops")
    assert loaded.failures() == []


def test_a_broken_plugin_is_named_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        loaded = load(FakePoint("bad", ImportError("no module named acme")), FakePoint("toy", toy()))
    assert states(loaded) == {"bad": "failed", "toy": "loaded"}
    assert loaded.failures()[0].error == "ImportError: no module named acme"
    assert "plugin bad (somewhere:plugin) failed to load: ImportError" in caplog.text


def test_a_hook_that_raises_leaves_nothing_behind() -> None:
    def broken() -> Any:
        raise RuntimeError("boom")

    loaded = load(FakePoint("bad", plugin(rustinfer_ops=lambda: [scale], rustinfer_models=broken)))
    assert loaded.registry.ops == {}
    assert "boom" in loaded.failures()[0].error
    assert loaded.manager.get_plugins() == set()


def test_strict_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError):
        load(FakePoint("bad", ImportError("x")), strict=True)
    monkeypatch.setenv("RUSTINFER_STRICT_PLUGINS", "1")
    with pytest.raises(ImportError):
        load(FakePoint("bad", ImportError("x")))


def test_a_misspelt_hook_is_reported_and_the_plugin_left_out() -> None:
    loaded = load(FakePoint("typo", plugin(rustinfer_backend=lambda: [backend()])), FakePoint("toy", toy()))
    assert states(loaded) == {"typo": "failed", "toy": "loaded"}
    assert "rustinfer_backend" in loaded.failures()[0].error


def test_another_api_version_is_refused() -> None:
    loaded = load(FakePoint("old", plugin(API_VERSION=0)))
    assert "plugin API 0, this rustinfer has 1" in loaded.failures()[0].error
    assert states(load(FakePoint("now", plugin(API_VERSION=1)))) == {"now": "loaded"}


def test_a_duplicate_name_is_refused_with_both_owners() -> None:
    loaded = load(FakePoint("a", toy()), FakePoint("b", toy()))
    assert states(loaded) == {"a": "loaded", "b": "failed"}
    assert "op scale is defined twice: by a and by b" in loaded.failures()[0].error


def test_two_entry_points_of_one_name() -> None:
    loaded = load(FakePoint("a", plugin()), FakePoint("a", plugin()))
    assert [record.state for record in loaded.records] == ["loaded", "failed"]
    assert loaded.failures()[0].error == "DefinitionError: an entry point named a is already loaded"


def test_disabled_plugins_are_listed_and_unknown_ones_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUSTINFER_DISABLE_PLUGINS", "toy,ghost")
    with caplog.at_level(logging.WARNING):
        loaded = load(FakePoint("toy", toy()))
    assert states(loaded) == {"toy": "disabled"}
    assert "ghost, but no such plugin is installed" in caplog.text


def test_wrap_hooks_reach_bindings() -> None:
    wrapper = plugin(rustinfer_wrap=lambda binding: lambda x: binding.op.name)
    loaded = load(FakePoint("toy", toy()), FakePoint("wrapper", wrapper))
    assert Binder(loaded.registry, CPU, wrap=loaded.wrap).scale(weight=1)(1) == "scale"
    alone = load(FakePoint("toy", toy()))
    assert Binder(alone.registry, CPU, wrap=alone.wrap).scale(weight=1)(1) == 1


def test_installed_plugins_load_with_their_distribution() -> None:
    loaded = load_plugins()
    ours = [record for record in loaded.records if record.distribution == "rustinfer"]
    assert {"ops", "cpu", "models"} <= {record.name for record in ours}
    assert all(record.version for record in ours)


def test_a_plugin_that_takes_long_to_load_is_named_meanwhile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(FakePoint):
        def load(self) -> Any:
            deadline = time.monotonic() + 30
            while "plugin slow is still loading" not in caplog.text:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return plugin()

    monkeypatch.setattr(plugins, "SLOW_SECONDS", 0.01)
    with caplog.at_level(logging.WARNING):
        assert states(load(Slow("slow", None))) == {"slow": "loaded"}
    assert "RUSTINFER_DISABLE_PLUGINS=slow" in caplog.text


def test_what_a_plugin_brings_is_added_whole_or_not_at_all() -> None:
    for odd in (SimpleNamespace(name="scale"), None):
        loaded = load(FakePoint("a", plugin(rustinfer_ops=lambda odd=odd: [scale, odd])))
        assert states(loaded) == {"a": "failed"}
        assert loaded.registry.ops == {}


def test_the_specifications_of_hooks_bring_nothing() -> None:
    assert not any(
        spec() for spec in (hookspecs.rustinfer_ops, hookspecs.rustinfer_backends, hookspecs.rustinfer_models)
    )
