# SPDX-License-Identifier: Apache-2.0
"""The state file's content, from bytes to a state and back.

One entry a line, for people who must read it at night::

    {"version": 1, "networks": [NETWORK, ...], "ports": [{"port": PORT, "offer": OFFER}, ...]}

Nearly all entries are the same from one version of the file to the next, and
whoever reads or writes many versions is spared the work for those.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, TypeVar

from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.model import Network

VERSION = 1
"""Raised when an old daemon could misread a new file."""

Item = Network | Entry
T = TypeVar("T", Network, Entry)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """The file as a whole."""

    version: int
    networks: tuple[Any, ...]
    ports: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Damage:
    """Why a file's content is no state."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class Writer:
    """Renders states."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[Item, str]] = {}

    def render(self, state: State) -> bytes:
        """Return the content of the file that holds *state*."""
        return "".join(self._render(state)).encode()

    def _render(self, state: State) -> Iterator[str]:
        lines: dict[str, tuple[Item, str]] = {}
        networks = [self._line(lines, f"n {n.name}", n) for n in state.networks.values()]
        ports = [self._line(lines, f"p {e.port.id}", e) for e in state.ports.values()]
        self._lines = lines
        yield f'{{"version": {VERSION},\n"networks": [\n'
        yield ",\n".join(networks)
        yield '],\n"ports": [\n'
        yield ",\n".join(ports)
        yield "]}\n"

    def _line(self, lines: dict[str, tuple[Item, str]], key: str, item: Item) -> str:
        known = self._lines.get(key)
        if known is None or known[0] is not item:
            known = (item, json.dumps(codec.to_json(item)))
        lines[key] = known
        return known[1]


class Reader:
    """Parses contents.  What is the same in two of them is the same object in both states."""

    def __init__(self) -> None:
        self._items: dict[str, tuple[Any, Any]] = {}
        """Each item as parsed JSON and as an object, by where it was in the file."""

    def parse(self, path: str, data: bytes) -> State | Damage:
        """Return the state in *data*, which is the content of *path*.

        :raises errors.StateError: a newer version wrote it.
        """
        try:
            obj = json.loads(data)
        except (ValueError, RecursionError) as e:
            return Damage(str(e))
        version = obj.get("version") if isinstance(obj, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise errors.StateError(
                f"{path} was written by a newer version (format {version}, this one reads "
                f"{VERSION})",
                hint="Install that version again, or move the file away to start without any "
                "port.",
            )
        try:
            return self._state(path, obj)
        except errors.VhostBrickError as e:
            return Damage(e.message)

    def _state(self, path: str, obj: Any) -> State:
        document = codec.from_json(_Document, obj, path)
        items: dict[str, tuple[Any, Any]] = {}
        networks = self._parsed(Network, document.networks, f"{path}.networks", items)
        entries = self._parsed(Entry, document.ports, f"{path}.ports", items)
        state = State(
            networks={n.name: n for n in networks}, ports={e.port.id: e for e in entries}
        )
        self._items = items
        return state

    def _parsed(
        self, cls: type[T], raws: tuple[Any, ...], where: str, items: dict[str, tuple[Any, Any]]
    ) -> Iterator[T]:
        for i, raw in enumerate(raws):
            key = _key(cls, raw, i)
            known = self._items.get(key)
            if known is None or known[0] != raw:
                known = (raw, codec.from_json(cls, raw, f"{where}[{i}]"))
            items[key] = known
            yield known[1]


def _key(cls: type, raw: Any, index: int) -> str:
    """Return what an item keeps while others come and go: its name."""
    try:
        return f"p {raw['port']['id']}" if cls is Entry else f"n {raw['name']}"
    except (TypeError, KeyError):
        return f"{index}"  # It will be found to be damage.
