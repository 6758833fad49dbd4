"""The verbs: which there are, and what a plugin uses to add its own."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

# A verb is a module of this package with `configure(parser)` and `run(args) -> int`; the words are for `--help`,
# which thus imports none of them.
VERBS: Mapping[str, str] = MappingProxyType(
    {
        "serve": "serve a model over HTTP, in the OpenAI dialect, with a page to chat in",
        "chat": "talk to a model, here or on a running server",
        "complete": "continue a text",
        "pull": "fetch a model into the cache",
        "bench": "measure latency, throughput, or this CPU beside llama.cpp",
        "ops": "list the ops, explain which kernel runs where and why, check a back end",
        "plugins": "list what is installed, and what failed to load",
        "plan": "say what a model would take of this machine, and how fast it may be",
        "doctor": "say what this machine has and what it lacks",
    }
)

Configure = Callable[[ArgumentParser], None]
Run = Callable[[Namespace], int | None]


@dataclass(frozen=True)
class Verb:
    """One verb: `configure` adds its arguments to a parser, `run` does it and returns the exit code (None is 0)."""

    name: str
    summary: str
    configure: Configure
    run: Run


class Commands:
    """What the hook `rustinfer_cli(commands)` is given."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self.verbs: dict[str, Verb] = {}
        self._taken = taken

    def add(self, name: str, summary: str, configure: Configure, run: Run) -> None:
        """Add a verb. Raises ValueError where the name is built in or another plugin has it."""
        if name in VERBS:
            raise ValueError(f"the verb {name} is built in")
        if name in self.verbs or name in self._taken:
            raise ValueError(f"the verb {name} is defined twice")
        self.verbs[name] = Verb(name, summary, configure, run)


def built_in(name: str) -> Verb:
    """The built-in verb of that name, its module now imported."""
    module = import_module(f".{name}", __package__)
    return Verb(name, VERBS[name], module.configure, module.run)
