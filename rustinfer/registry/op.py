"""An Op is a name, a signature, and the plain-torch function that defines what it means."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack, get_args, get_origin, get_type_hints

import torch

from .errors import DefinitionError

Function = Callable[..., Any]


@dataclass(frozen=True)
class Tolerance:
    """How far a kernel may stray: `slack` times the reference's own rounding error, plus a floor for each dtype."""

    slack: float = 2.0
    floor: Mapping[torch.dtype, float] = field(
        default_factory=lambda: {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}
    )


@dataclass(frozen=True)
class Case:
    """One conformance input: `flow` is passed at each call, `bound` at bind; `decode` asks for a decode target."""

    name: str
    flow: tuple[Any, ...]
    bound: Mapping[str, Any] = field(default_factory=dict)
    decode: bool = False


CaseMaker = Callable[[torch.dtype, torch.device], Iterable[Case]]


class Op:
    """Positional parameters flow through every call; keyword-only parameters are frozen at bind.

    Calling an Op runs its reference. `mutates` names the positional parameters that it writes to, `rows` those whose
    rows stand each for itself: what comes of one depends on no other. A reference that is not `batch_invariant` may
    give a row other bits when there are other rows.
    """

    def __init__(
        self,
        reference: Function,
        *,
        tolerance: Tolerance,
        mutates: tuple[str, ...] = (),
        rows: tuple[str, ...] = (),
        batch_invariant: bool = True,
    ) -> None:
        self.name = reference.__name__
        self.reference = reference
        self.signature = inspect.signature(reference)
        self.tolerance = tolerance
        self.mutates, self.rows, self.batch_invariant = mutates, rows, batch_invariant
        self.mutants: dict[str, Function] = {}
        self.composition: Function | None = None
        self._cases: CaseMaker | None = None
        parameters = self.signature.parameters.values()
        if odd := [p.name for p in parameters if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]:
            raise DefinitionError(f"op {self.name}: parameters {odd} must be plain positional or keyword-only")
        self.flow = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.bound = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        self._defaults = {p.name: p.default for p in parameters if p.name in self.bound and p.default is not p.empty}
        self._needed = [name for name in self.bound if name not in self._defaults]
        for what, names in (("mutates", mutates), ("has rows in", rows)):
            if unknown := set(names) - set(self.flow):
                raise DefinitionError(f"op {self.name}: {what} {sorted(unknown)}, which are not positional parameters")

    @property
    def summary(self) -> str:
        """The first line of the definition's docstring."""
        return (inspect.getdoc(self.reference) or "").split("\n", 1)[0]

    def cases(self, maker: CaseMaker) -> CaseMaker:
        """Decorator: register the generator of conformance inputs."""
        self._cases = maker
        return maker

    def make_cases(self, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
        """The conformance inputs, made anew at each call. Raises LookupError for an op without any."""
        if self._cases is None:
            raise LookupError(f"op {self.name} has no cases; add them with @{self.name}.cases")
        yield from self._cases(dtype, device)

    def mutant(self, name: str) -> Callable[[Function], Function]:
        """Decorator: register a plausible wrong version, which conformance must reject."""

        def register(fn: Function) -> Function:
            self.check_signature(fn)
            if name in self.mutants:
                raise DefinitionError(f"op {self.name} already has a mutant {name!r}")
            self.mutants[name] = fn
            return fn

        return register

    def compose(self, build: Function) -> Function:
        """Decorator, for a fused op: `build(ops, **bound)` returns the composition of the best kernels of its parts."""
        if (names := frozen(build)) != self.bound:
            raise DefinitionError(f"op {self.name}: its composition takes {names}, the op binds {self.bound}")
        self.composition = build
        return build

    def check_signature(self, fn: Function) -> None:
        """Raise DefinitionError unless `fn` takes the op's parameters, by the same names and kinds."""
        want = [(p.name, p.kind) for p in self.signature.parameters.values()]
        have = [(p.name, p.kind) for p in inspect.signature(fn).parameters.values()]
        if want != have:
            raise DefinitionError(f"{fn.__qualname__}{inspect.signature(fn)} does not match op {self}")

    def check_builder(self, fn: Function) -> None:
        """Raise DefinitionError unless `fn` is `(target, *, the op's bound parameters)`."""
        parameters = list(inspect.signature(fn).parameters.values())
        if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY or frozen(fn) != self.bound:
            want = ", ".join(("target", "*", *self.bound)) if self.bound else "target"
            has = f"{fn.__qualname__}{inspect.signature(fn)}"
            raise DefinitionError(f"{has} builds op {self.name} and must take ({want})")

    def complete(self, bound: Mapping[str, Any]) -> dict[str, Any]:
        """The bound arguments with defaults filled in. Raises TypeError for unknown or missing ones."""
        if unknown := bound.keys() - self.bound:
            raise TypeError(f"{self.name} binds {self.bound}, not {sorted(unknown)}")
        if missing := [name for name in self._needed if name not in bound]:
            raise TypeError(f"{self.name} needs {missing} when it is bound")
        return {**self._defaults, **bound}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.reference(*args, **kwargs)

    def __str__(self) -> str:
        return f"{self.name}{self.signature}"

    def __repr__(self) -> str:
        return f"<Op {self}>"


def frozen(fn: Function) -> tuple[str, ...]:
    """What a function takes by name alone; of `**rest: Unpack[SomeTypedDict]` the keys of that, in their order."""
    names: list[str] = []
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            names.append(parameter.name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            hint = get_type_hints(fn).get(parameter.name)
            names += get_args(hint)[0].__annotations__ if get_origin(hint) is Unpack else ()
    return tuple(names)


def op(
    *,
    tolerance: Tolerance | None = None,
    mutates: tuple[str, ...] = (),
    rows: tuple[str, ...] = (),
    batch_invariant: bool = True,
) -> Callable[[Function], Op]:
    """Turn a reference function into an Op."""
    limits = tolerance or Tolerance()
    return lambda reference: Op(
        reference, tolerance=limits, mutates=mutates, rows=rows, batch_invariant=batch_invariant
    )
