"""The Jinja environment of chat templates. A template comes with a checkpoint, from a stranger, so it is not trusted.

Jinja's immutable sandbox keeps it away from Python's internals; a budget bounds its time and memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import update_wrapper
from typing import Any, NoReturn, cast

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from .budget import Budget, Rounds, check_format, check_power, check_product, check_replace, check_widths
from .errors import TemplateError

_PADDING = frozenset(
    ("batch", "center", "expandtabs", "indent", "ljust", "rjust", "round", "slice", "wordwrap", "zfill")
)
_MEASURED = (nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict)


class Names(Namespace):
    """Jinja's namespace(), without the printed form, which would write out whatever it holds."""

    def __repr__(self) -> str:
        return "<namespace>"


class Generation(Extension):
    """`{% generation %}` marks an answer for training; here its content is simply rendered."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements inside of the block."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for one checkpoint's templates."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, Generation])
        self.budget = Budget()
        self.filters |= {"tojson": to_json, "join": self._join, "replace": _replace, "format": _format}
        self.filters = {name: self._counted(name, inner) for name, inner in self.filters.items()}
        self.filters |= {"rounds": self._rounds, "measured": self._measured}
        self.globals |= {"raise_exception": refuse, "strftime_now": now, "namespace": Names}
        del self.globals["lipsum"]

    def concat(self, parts: Iterable[str]) -> str:
        """The text that a macro or a block has written."""
        return self.budget.concatenate(parts)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call for a template: methods of strings that could make huge results are looked at first."""
        self.budget.spend()
        if isinstance(owner := getattr(obj, "__self__", None), str):
            self._check_method(owner, obj.__name__, args, kwargs)
        if isinstance(obj, LoopContext):  # loop(...) recurses over its argument
            args = tuple(map(self._rounds, args))
        return self.budget.value(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic, refused before it is done where the result would be huge."""
        if operator == "*":
            check_product(left, right)
        if operator == "**":
            check_power(left, right)
        if operator == "%" and isinstance(left, str):
            check_format(left)
        return self.budget.value(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's guarded str.format, with bounded widths."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            check_format(value.__self__)
        return wrapped

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        """Refuse at once, where Jinja would only when the value is used."""
        raise SecurityError(f"it reaches for {attribute!r} of {type(obj).__name__!r}, which is not safe")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.iter = _filtered(loop.iter, "rounds")
        _measure(template)
        return template

    def _check_method(self, text: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name in _PADDING:
            check_widths((*args, *kwargs.values()))
        if name == "replace" and len(args) > 1:
            check_replace(text, str(args[0]), str(args[1]))
        if name == "join" and args:
            self._join(list(args[0]), text)
        if name == "translate":
            raise SecurityError("it calls str.translate, which is not for templates")

    def _counted(self, name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.budget.spend()
            if name in _PADDING:
                check_widths((*args[1:], *kwargs.values()))
            return self.budget.value(inner(*args, **kwargs))

        return update_wrapper(counted, inner)  # with the mark that asks Jinja for a context

    def _rounds(self, items: Any) -> Any:
        return Rounds(items, self.budget) if isinstance(items, Iterable) else items

    def _measured(self, value: Any) -> Any:
        return self.budget.value(value)

    def _join(self, value: Iterable[Any], d: Any = "", attribute: str | int | None = None) -> str:
        items = value if attribute is None else map(make_attrgetter(self, attribute), value)
        parts = [str(self.budget.value(item)) for item in items]
        self.budget.text(len(str(d)) * len(parts))
        return self.budget.concatenate([str(d).join(parts)])


def _replace(s: Any, old: str, new: str, count: int = -1) -> str:
    text = str(s)
    check_replace(text, str(old), str(new))
    return text.replace(str(old), str(new), count)


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    check_format(str(value))
    return str(value) % (kwargs or args)


def to_json(value: Any, indent: int | None = None, separators: Any = None, sort_keys: bool = False, **_: Any) -> str:
    """JSON as models are trained on: nothing escaped for HTML, letters of every script left as they are."""
    if isinstance(indent, int) and indent > 16:
        raise SecurityError("it indents JSON by more than 16 columns")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)


def now(form: str) -> str:
    """The local time, for templates that tell the model the date."""
    check_format(form)
    return datetime.now().strftime(form)


def refuse(message: object) -> NoReturn:
    """A template's own refusal of the messages."""
    raise TemplateError(f"the chat template refuses these messages: {' '.join(str(message).split())[:300]}")


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, [], [], None, None, lineno=node.lineno)


def _measure(parent: nodes.Node) -> None:
    """Wrap each concatenation and each literal container, whose values the environment would not see otherwise."""
    for field, value in list(parent.iter_fields()):
        if isinstance(value, nodes.Node):
            setattr(parent, field, _measured(value))
        elif isinstance(value, list):
            setattr(parent, field, [_measured(item) if isinstance(item, nodes.Node) else item for item in value])


def _measured(node: nodes.Node) -> nodes.Node:
    _measure(node)
    value = isinstance(node, _MEASURED) and getattr(node, "ctx", "load") == "load"
    return _filtered(node, "measured") if value else node
