# SPDX-License-Identifier: Apache-2.0
"""JSON to dataclass and back, checked against the type hints.

Used for everything that is sent or stored: requests, results and the state
file.  Only the types our declarations use are known; anything else is a
programming error and raises TypeError when the declaration is first used.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import types
import typing
from typing import Any, TypeVar

from vhost_brick_plugin import errors

T = TypeVar("T")


def param(help: str, **kwargs: Any) -> Any:
    """Return a dataclass field that carries its one-line documentation."""
    return dataclasses.field(metadata={"help": help}, **kwargs)


def to_json(value: Any) -> Any:
    """Return *value* (dataclasses, enums, tuples, mappings, scalars) as plain JSON types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, collections.abc.Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def from_json(cls: type[T], data: Any, where: str = "", *, newer: bool = False) -> T:
    """Build a *cls* out of parsed JSON.

    :param where: what to call the value in an error, such as ``port_ensure``.
    :param newer: who wrote it may know more than we do: unknown keys are left out.
    :raises errors.InvalidParams: a key is missing or unknown, or a value has
        the wrong type; the message names it by its path.
    """
    result = _decode(cls, data, where or cls.__name__, newer)
    return typing.cast(T, result)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def type_name(hint: Any) -> str:
    """Return *hint* in words an operator knows, for errors and for the docs."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(a) for a in args)
    if hint is type(None):
        return "null"
    if origin in (tuple, list):
        return f"list of {type_name(args[0])}"
    if origin is collections.abc.Mapping:
        return f"object of {type_name(args[1])}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(repr(m.value) for m in hint)
    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return names.get(hint, "object")


def _wrong(where: str, hint: Any, data: Any) -> errors.InvalidParams:
    text = repr(data)
    shown = text if len(text) <= 60 else text[:57] + "..."
    return errors.InvalidParams(f"{where} must be {type_name(hint)}, not {shown}")


def _decode(hint: Any, data: Any, where: str, newer: bool) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return _decode_union(hint, data, where, newer)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _decode_dataclass(hint, data, where, newer)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(data)
        except ValueError:
            raise _wrong(where, hint, data) from None
    if origin is tuple or origin is list:
        if not isinstance(data, list):
            raise _wrong(where, hint, data)
        item = typing.get_args(hint)[0]
        return origin(_decode(item, v, f"{where}[{i}]", newer) for i, v in enumerate(data))
    if origin is collections.abc.Mapping:
        if not isinstance(data, dict):
            raise _wrong(where, hint, data)
        item = typing.get_args(hint)[1]
        return {k: _decode(item, v, f"{where}.{k}", newer) for k, v in data.items()}
    return _decode_scalar(hint, data, where)


def _decode_scalar(hint: Any, data: Any, where: str) -> Any:
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if hint not in (str, int, float, bool):
        raise TypeError(f"{where}: no codec for {hint!r}")
    # bool is an int to Python, but not to the person who wrote the request.
    if not isinstance(data, hint) or (hint is int and isinstance(data, bool)):
        raise _wrong(where, hint, data)
    return data


def _decode_union(hint: Any, data: Any, where: str, newer: bool) -> Any:
    args = typing.get_args(hint)
    if data is None and type(None) in args:
        return None
    rest = [a for a in args if a is not type(None)]
    if len(rest) != 1:
        raise TypeError(f"{where}: only 'X | None' unions have a codec")
    return _decode(rest[0], data, where, newer)


def _decode_dataclass(cls: type, data: Any, where: str, newer: bool) -> Any:
    if not isinstance(data, dict):
        raise errors.InvalidParams(f"{where} must be an object, not {type(data).__name__}")
    hints = _hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    unknown = sorted(set(data) - set(fields))
    if unknown and not newer:
        raise errors.InvalidParams(
            f"{where} has no parameter {unknown[0]!r}",
            hint="Known parameters: " + (", ".join(fields) or "none") + ".",
        )
    missing = [
        n
        for n, f in fields.items()
        if n not in data
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise errors.InvalidParams(f"{where} lacks the parameter {missing[0]!r}")
    known = {n: v for n, v in data.items() if n in fields}
    return cls(**{n: _decode(hints[n], v, f"{where}.{n}", newer) for n, v in known.items()})
