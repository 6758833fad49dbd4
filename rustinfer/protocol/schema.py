"""A type annotation to the pair of functions that writes its values as plain MessagePack values and reads them back."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

MAX_TOKENS = 1 << 24


class ProtocolError(Exception):
    """A frame that is not a message. Count it, drop it, go on."""


class Coder(NamedTuple):
    """`decode` raises ProtocolError for anything but the declared type."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


@cache
def coder(kind: Any) -> Coder:
    """For str, int, float, bool, None, Literal, X | Y, list[X], Sequence[X], tuple[X, Y], dataclasses, mappings.

    Keys of a mapping (dict or Mapping) are all str or all int.
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if is_dataclass(kind):
        return _record(kind)
    if origin is Literal:
        return Coder(_same, _literal(frozenset(args)))
    if origin in (Union, UnionType):
        return _union(args)
    if origin in (list, Sequence):
        made = tuple if origin is Sequence else list
        if args[0] in _PACKED:
            return _packed(made, _PACKED[args[0]])
        return _columns(made, get_args(args[0])) if get_origin(args[0]) is tuple else _items(made, coder(args[0]))
    if origin is tuple:
        return _pair(tuple(coder(a) for a in args))
    if origin in (dict, Mapping) and args[0] in (str, int):
        return _mapping(coder(args[1])) if args[0] is str else _numbered(args[1])
    raise TypeError(f"no wire form for {kind}")


def _same(value: Any) -> Any:
    return value


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise ProtocolError(f"{type(value).__name__} instead of {kind.__name__}")

    return read


def _real(value: Any) -> float:
    if type(value) in (float, int):
        return float(value)
    raise ProtocolError(f"{type(value).__name__} instead of a number")


_SCALARS: dict[Any, Coder] = {t: Coder(_same, _exactly(t)) for t in (str, int, bool, NoneType)} | {
    float: Coder(_same, _real)
}


def _literal(allowed: frozenset[object]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is str and value in allowed:
            return value
        raise ProtocolError("a word outside its list")

    return read


def _union(args: tuple[Any, ...]) -> Coder:
    """Members told apart by the Python type of their wire form, so each must have another."""
    coders = {get_origin(a) or a: coder(a) for a in args}

    def find(value: Any) -> Coder:
        found = coders.get(type(value))
        if found is None:
            raise ProtocolError(f"unexpected {type(value).__name__}")
        return found

    if len(others := [c for k, c in coders.items() if k is not NoneType]) > 1:
        return Coder(lambda value: find(value).encode(value), lambda value: find(value).decode(value))
    inner = others[0]
    return Coder(
        lambda value: None if value is None else inner.encode(value),
        lambda value: None if value is None else inner.decode(value),
    )


_PACKED = {int: "i", float: "d"}  # as `array` has them: int32 and float64, in the order of all machines served here


def _packed(made: Callable[[Any], Any], code: str) -> Coder:
    size = array(code).itemsize

    def read(value: Any) -> Any:
        if type(value) is not bytes or len(value) % size or len(value) > size * MAX_TOKENS:
            raise ProtocolError(f"not packed numbers of {size} bytes")
        return made(array(code, value))

    return Coder(lambda values: array(code, values).tobytes(), read)


def _columns(made: Callable[[Any], Any], kinds: tuple[Any, ...]) -> Coder:
    """Tuples travel as a list for each of their fields: numbers of 64 choices are packed, not looked at one by one."""
    lists = _pair(tuple(coder(list[kind]) for kind in kinds))  # type: ignore[valid-type]

    def write(values: Sequence[Any]) -> Any:
        return lists.encode(list(zip(*values, strict=True)) if values else [()] * len(kinds))

    def read(value: Any) -> Any:
        columns = lists.decode(value)
        if len({len(column) for column in columns}) > 1:
            raise ProtocolError("columns of several lengths")
        return made(zip(*columns, strict=True))

    return Coder(write, read)


def _items(made: Callable[[Any], Any], item: Coder) -> Coder:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise ProtocolError(f"{type(value).__name__} instead of a list")
        return made([item.decode(v) for v in value])

    return Coder(lambda values: [item.encode(v) for v in values], read)


def _pair(parts: tuple[Coder, ...]) -> Coder:
    def read(value: Any) -> Any:
        if type(value) is not list or len(value) != len(parts):
            raise ProtocolError(f"not an array of {len(parts)}")
        return tuple([p.decode(v) for p, v in zip(parts, value, strict=True)])

    return Coder(lambda values: [p.encode(v) for p, v in zip(parts, values, strict=True)], read)


def _mapping(item: Coder) -> Coder:
    def read(value: Any) -> Any:
        if type(value) is not dict or not all(type(k) is str for k in value):
            raise ProtocolError("not a map of names")
        return {k: item.decode(v) for k, v in value.items()}

    return Coder(lambda values: {k: item.encode(v) for k, v in values.items()}, read)


def _numbered(item: Any) -> Coder:
    """Keys that are integers travel beside their values: a MessagePack map has names only."""
    pairs = _columns(dict, (int, item))
    return Coder(lambda values: pairs.encode(list(values.items())), pairs.decode)


def _record(kind: Any) -> Coder:
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    body = _pair(tuple(coder(hints[n]) for n in names))

    def write(value: Any) -> Any:
        return body.encode([getattr(value, n) for n in names])

    def read(value: Any) -> Any:
        try:
            return kind(*body.decode(value))
        except ValueError as e:  # the dataclass's own validation
            raise ProtocolError(f"{kind.__name__}: {e}") from None

    return Coder(write, read)
