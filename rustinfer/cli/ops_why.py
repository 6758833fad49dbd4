"""`rustinfer ops why`: every binding of a model, as the engine makes them, with each refusal."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..engine.options import Options
from ..errors import UserError
from . import output
from .local import open_llm

if TYPE_CHECKING:
    from ..registry import Binding

LAYER = re.compile(r"(.*?\.)(\d+)(\..*|)")
COLUMNS = ("site", "op", "steps", "kernel", "not chosen")


def run(args: Namespace) -> int:
    """Load and bind the model by the same code as the engine, then print what was chosen."""
    with open_llm(args.model, Options.of(args)) as llm:
        chosen = select(llm.bindings, args.op, args.site)
    if args.json:
        output.as_json([as_row(binding) for binding in chosen])
        return 0
    output.table(COLUMNS, cells(chosen, every=args.all))
    print(summary(chosen))
    return 0


def select(bindings: Sequence[Binding], op: str | None, site: str | None) -> list[Binding]:
    """The bindings of an op at sites whose name contains a text. Raises UserError where there is none."""
    ops = sorted({binding.op.name for binding in bindings})
    if op is not None and op not in ops:
        raise UserError(f"this model binds no op named {op}: it binds {', '.join(ops)}")
    found = [b for b in bindings if op in (None, b.op.name) and (site or "") in b.site]
    if not found:
        raise UserError(f"no site of this model has {site!r} in its name; run without --site to see them")
    return found


def as_row(binding: Binding) -> dict[str, object]:
    return {
        "site": binding.site,
        "op": binding.op.name,
        "steps": steps(binding),
        "kernel": binding.backend,
        "refusals": dict(binding.rejected),
    }


def steps(binding: Binding) -> str:
    """Which steps of the engine take this binding."""
    target = binding.target
    return f"decode, up to {target.rows}" if target.decode else "any"


def summary(bindings: Sequence[Binding]) -> str:
    """How many bindings each back end has."""
    names = [binding.backend for binding in bindings]
    counts = ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))
    return f"{len(bindings)} bindings: {counts}"


def cells(bindings: Sequence[Binding], *, every: bool = False) -> list[tuple[str, ...]]:
    """Rows of the table. Unless `every` is set, layers with the same answer share one: `model.layers.0-29.mlp`."""
    rows: dict[tuple[str, ...], list[int]] = {}
    for binding in bindings:
        site, layers = (binding.site or "-", []) if every else _by_layer(binding.site or "-")
        refused = "; ".join(f"{name}: {reason}" for name, reason in binding.rejected)
        rows.setdefault((site, binding.op.name, steps(binding), binding.backend, refused), []).extend(layers)
    return [(site.replace("*", ranges(layers)), *rest) for (site, *rest), layers in rows.items()]


def _by_layer(site: str) -> tuple[str, list[int]]:
    """`model.layers.7.mlp` as ("model.layers.*.mlp", [7])."""
    found = LAYER.fullmatch(site)
    return (f"{found[1]}*{found[3]}", [int(found[2])]) if found else (site, [])


def ranges(numbers: Sequence[int]) -> str:
    """`0-3,5`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
