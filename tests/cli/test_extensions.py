"""Verbs that plugins add, and what becomes of the others when one plugin is broken."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rustinfer.cli import extensions, plugins
from rustinfer.cli import main as cli
from rustinfer.cli.commands import Commands
from rustinfer.registry import Plugins, hookimpl, load_plugins


@dataclass(frozen=True)
class Point:
    """An entry point that needs no installed distribution."""

    name: str
    plugin: Any
    value: str = "somewhere"

    def load(self) -> Any:
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


def adding(*names: str, fails: bool = False) -> ModuleType:
    """A plugin that adds verbs, each returning 7, and may fail after that."""

    @hookimpl
    def rustinfer_cli(commands: Commands) -> None:
        for name in names:
            commands.add(name, "say hello", lambda parser: parser.add_argument("--loud"), lambda args: 7)
        if fails:
            raise RuntimeError("no luck")

    plugin = ModuleType("plugin")
    vars(plugin)["rustinfer_cli"] = rustinfer_cli
    return plugin


def loaded(**plugins: object) -> Plugins:
    return load_plugins([Point(name, plugin) for name, plugin in plugins.items()], strict=False)


def test_a_plugin_adds_a_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(extensions, "installed", lambda: True)
    monkeypatch.setattr("rustinfer.registry.load_plugins", lambda: loaded(acme=adding("hello")))
    assert cli.main(["hello", "--loud", "yes"]) == 7
    assert cli.main(["hallo"]) == 2
    assert capsys.readouterr().err == "error: no verb hallo: did you mean hello?\n"


def test_no_plugin_is_imported_where_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Plugins:
        raise AssertionError("plugins were loaded for a misspelt verb")

    monkeypatch.setattr(extensions, "installed", lambda: False)
    monkeypatch.setattr("rustinfer.registry.load_plugins", refuse)
    assert cli.main(["srve"]) == 2


@pytest.mark.parametrize("owner", ["rustinfer", "acme"])
def test_whether_others_are_installed(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("one", "some.module", "rustinfer")
    vars(point)["dist"] = SimpleNamespace(name=owner)
    monkeypatch.setattr(extensions, "entry_points", lambda group: [point])
    assert extensions.installed() is (owner == "acme")


def test_a_broken_plugin_adds_nothing_and_stops_nobody() -> None:
    added = extensions.commands(loaded(bad=adding("half", fails=True), good=adding("hello")))
    assert list(added.verbs) == ["hello"]
    assert added.owners == {"good": ["hello"]}
    assert added.failures == {"bad": "RuntimeError: no luck"}


@pytest.mark.parametrize(
    ("names", "message"), [(("serve",), "the verb serve is built in"), (("a", "a"), "the verb a is defined twice")]
)
def test_a_verb_has_one_owner(names: tuple[str, ...], message: str) -> None:
    added = extensions.commands(loaded(acme=adding(*names)))
    assert added.failures == {"acme": f"ValueError: {message}"}
    assert not added.verbs


def test_two_plugins_cannot_have_one_verb() -> None:
    added = extensions.commands(loaded(one=adding("hello"), two=adding("hello")))
    assert len(added.verbs) == 1
    assert list(added.failures.values()) == ["ValueError: the verb hello is defined twice"]


def test_the_table_names_verbs_and_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everyone = {"good": adding("hello", "bye"), "worse": adding(fails=True), "gone": ImportError("no module acme")}
    monkeypatch.setattr("rustinfer.registry.load_plugins", lambda strict: loaded(**everyone))
    records = {record.name: record for record in plugins.collect()}
    assert records["good"].provides == ("verb hello", "verb bye")
    assert (records["worse"].state, records["worse"].error) == ("failed", "RuntimeError: no luck")
    assert (records["gone"].state, records["gone"].error) == ("failed", "ImportError: no module acme")
    assert cli.main(["plugins"]) == 0
    shown = capsys.readouterr().out
    assert "verb hello, bye" in shown
    assert "ImportError: no module acme" in shown


def test_collecting_is_silent_and_leaves_the_log_as_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rustinfer.registry.load_plugins", lambda strict: loaded(gone=ImportError("no module acme")))
    level = logging.getLogger("rustinfer").level
    plugins.collect()
    assert not caplog.records
    assert logging.getLogger("rustinfer").level == level
