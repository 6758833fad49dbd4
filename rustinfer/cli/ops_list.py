"""`rustinfer ops list`: every registered op."""

from __future__ import annotations

import inspect
from argparse import Namespace
from typing import TYPE_CHECKING

from ..registry import load_plugins
from . import output

if TYPE_CHECKING:
    from ..registry import Op, Registry


def run(args: Namespace) -> int:
    """Print each op with its parameters and the back ends that have a kernel for it."""
    registry = load_plugins().registry
    rows = [describe(registry, op) for op in sorted(registry.ops.values(), key=lambda op: op.name)]
    if args.json:
        output.as_json(rows)
    else:
        columns = ("op", "flows", "frozen at bind", "kernels", "from")
        output.table(
            columns, ([row[c] if isinstance(row[c], str) else ", ".join(row[c]) for c in columns] for row in rows)
        )
    return 0


def describe(registry: Registry, op: Op) -> dict[str, str | list[str]]:
    """One op: what flows, what is frozen, who has a kernel, which plugin defines it."""
    parameters = op.signature.parameters.values()
    frozen = [_frozen(p) for p in parameters if p.kind is p.KEYWORD_ONLY]
    return {
        "op": op.name,
        "flows": [f"{p.name}*" if p.name in op.mutates else p.name for p in parameters if p.kind is not p.KEYWORD_ONLY],
        "frozen at bind": frozen,
        "kernels": [kernel.backend for kernel in registry.kernels(op)] + ["reference"],
        "from": registry.owner("op", op.name),
    }


def _frozen(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default}"
