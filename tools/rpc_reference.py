# SPDX-License-Identifier: Apache-2.0
"""Writes ``doc/source/rpc.rst``: the control API, out of its declaration::

    tools/rpc_reference.py

``tests/unit/test_rpc_reference.py`` keeps the page in step.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "doc" / "source" / "rpc.rst"
sys.path.insert(0, str(TOP))

from vhost_brick_plugin import codec, errors  # noqa: E402
from vhost_brick_plugin.api import client, methods, wire  # noqa: E402

HEAD = f"""\
.. Made by tools/rpc_reference.py out of vhost_brick_plugin/api/methods.py: change that.

Control API
===========

JSON-RPC 2.0 over the Unix socket ``{client.DEFAULT_SOCKET}``, one object a line, UTF-8.  A
request has at most {wire.MAX_REQUEST} bytes.  Parameters are an object; unknown ones are
refused.  The API's version is {methods.API_VERSION}; it is raised when an old client could
misread a new daemon, and additions do not raise it: a client has to ignore members that it does
not know.

::

    $ nc -U {client.DEFAULT_SOCKET}
    {{"jsonrpc": "2.0", "id": 1, "method": "port_remove", "params": {{"id": "web"}}}}
    {{"jsonrpc":"2.0","id":1,"result":{{"existed":true}}}}

In Python::

    from vhost_brick_plugin.api.client import Client

    Client("{client.DEFAULT_SOCKET}").port_remove(id="web")

After ``watch``, events follow on the same connection: notifications of the method
``event``, whose parameters are an `Event`_.

After ``capture_start`` a pcapng file follows, up to the end of the connection.
"""

METHODS_HEAD = """
Methods
-------
"""

TYPES_HEAD = """
Objects
-------
"""

ERRORS_HEAD = """
Errors
------

``error`` has a ``code`` and a ``message`` that names who, which path, which option, and
``data`` has the error's stable name, ``slug``, and a ``hint`` what to do.

"""


def nested(hint: Any) -> Iterator[type]:
    """Yield the dataclasses that a type hint names."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for arg in typing.get_args(hint):
        yield from nested(arg)


def reachable(roots: list[type]) -> list[type]:
    """Return the dataclasses that *roots* are made of, *roots* included, by name."""
    found: dict[str, type] = {}
    queue = list(roots)
    while queue:
        cls = queue.pop()
        if cls.__name__ in found:
            continue
        found[cls.__name__] = cls
        for hint in typing.get_type_hints(cls).values():
            queue += nested(hint)
    return [found[name] for name in sorted(found)]


def type_text(hint: Any) -> str:
    """Return a type as the page shows it, with links to objects."""
    args = typing.get_args(hint)
    if type(None) in args:
        (other,) = (arg for arg in args if arg is not type(None))
        return f"{type_text(other)} or null"
    if typing.get_origin(hint) is tuple:
        return f"list of {type_text(args[0])}"
    if typing.get_origin(hint) is collections.abc.Mapping:
        return f"object of {type_text(args[1])}"
    if dataclasses.is_dataclass(hint):
        return f"`{typing.cast(type, hint).__name__}`_"
    return codec.type_name(hint)


def _default(field: dataclasses.Field[Any]) -> str:
    value: Any = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return ""
    plain = codec.to_json(value)
    return "; its own defaults" if dataclasses.is_dataclass(value) else f"; {json.dumps(plain)}"


def _fields(cls: type) -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        yield f"``{field.name}``: {type_text(hints[field.name])}{_default(field)}"
        about = field.metadata.get("help")
        yield from _indented(about or "..")


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in textwrap.wrap(text, 84)]


def _section(title: str, cls: type) -> Iterator[str]:
    yield from ("", title, "~" * len(title), "", inspect.getdoc(cls) or "")
    if fields := list(_fields(cls)):
        yield from ("", *fields)


def _method(cls: type[methods.Method[Any]]) -> Iterator[str]:
    yield from _section(cls.name, cls)
    yield from ("", f"Returns `{cls.result.__name__}`_.")


def _errors() -> Iterator[str]:
    for slug, cls in sorted(errors.BY_SLUG.items()):
        yield f"``{slug}`` ({cls.rpc_code})"
        yield from textwrap.wrap(
            cls.default_hint, 84, initial_indent="    ", subsequent_indent="    "
        )


def page() -> str:
    """Return the page as it has to be."""
    declared = list(methods.METHODS.values())
    lines = [HEAD, METHODS_HEAD.strip("\n")]
    for method in declared:
        lines += _method(method)
    lines.append(TYPES_HEAD)
    inside = [
        hint for m in declared for h in typing.get_type_hints(m).values() for hint in nested(h)
    ]
    for cls in reachable([methods.Event, *inside, *(m.result for m in declared)]):
        lines += _section(cls.__name__, cls)
    lines += [ERRORS_HEAD.rstrip("\n"), "", *_errors()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
