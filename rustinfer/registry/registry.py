"""The Registry holds what exists: ops, back ends, models. It decides nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from .backend import Backend, Kernel
from .errors import DefinitionError
from .op import Op

ModelBuilder = Callable[..., Any]


class Registry:
    """Three dictionaries by name, each entry with the plugin that owns it."""

    def __init__(self) -> None:
        self.ops: dict[str, Op] = {}
        self.backends: dict[str, Backend] = {}
        self.models: dict[str, ModelBuilder] = {}
        self._owners: dict[tuple[str, str], str] = {}

    def add_op(self, op: Op, owner: str = "") -> None:
        """Add an op. Raises DefinitionError where the name is taken, naming both owners."""
        self._claim("op", op.name, owner)
        self.ops[op.name] = op

    def add_backend(self, backend: Backend, owner: str = "") -> None:
        """Add a back end. Raises DefinitionError where the name is taken, naming both owners."""
        if backend.name == "reference":
            raise DefinitionError("the name 'reference' belongs to the ops' own definitions")
        self._claim("back end", backend.name, owner)
        self.backends[backend.name] = backend

    def add_model(self, architecture: str, build: ModelBuilder, owner: str = "") -> None:
        """Add a model builder. Raises DefinitionError where the architecture is taken, naming both owners."""
        self._claim("model", architecture, owner)
        self.models[architecture] = build

    def add(self, ops: list[Op], backends: list[Backend], models: Mapping[str, ModelBuilder], owner: str) -> None:
        """Add all that one plugin brings, or nothing of it."""
        before = (dict(self.ops), dict(self.backends), dict(self.models), dict(self._owners))
        try:
            for op in ops:
                self.add_op(op, owner)
            for backend in backends:
                self.add_backend(backend, owner)
            for architecture, build in models.items():
                self.add_model(architecture, build, owner)
        except Exception:
            self.ops, self.backends, self.models, self._owners = before
            raise

    def owner(self, kind: str, name: str) -> str:
        """The plugin that owns an entry; kind is "op", "back end" or "model"."""
        return self._owners[kind, name]

    def kernels(self, op: Op) -> list[Kernel]:
        """Every kernel registered for an op, in the order in which back ends were added."""
        return [b.kernels[op.name] for b in self.backends.values() if op.name in b.kernels]

    def fingerprint(self) -> str:
        """Equal in two processes exactly when they loaded the same ops, kernels and models."""
        lines = [f"op {op}" for op in self.ops.values()]
        lines += [f"kernel {b.name}:{name}" for b in self.backends.values() for name in b.kernels]
        lines += [f"model {name}" for name in self.models]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]

    def _claim(self, kind: str, name: str, owner: str) -> None:
        if (kind, name) in self._owners:
            first = self._owners[kind, name] or "an earlier call"
            raise DefinitionError(f"{kind} {name} is defined twice: by {first} and by {owner or 'this call'}")
        self._owners[kind, name] = owner
