# SPDX-License-Identifier: Apache-2.0
"""The lives of ports: what happened to each, as far back as there is room.

Made of the events that watchers get, so that 'port show' and 'watch' use the same words.
"""

from __future__ import annotations

from collections import deque

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.report import Happening

LENGTH = 64
"""Happenings of a port that are kept; a frontend that comes and goes makes four a turn."""


class Lives:
    """Belongs to the datapath's thread."""

    def __init__(self) -> None:
        self._lives: dict[str, deque[Happening]] = {}

    def note(self, event: methods.Event) -> None:
        """Take *event* into account, if it is about a port."""
        if event.port:
            life = self._lives.setdefault(event.port, deque(maxlen=LENGTH))
            life.append(Happening(time=event.time, what=event.kind, detail=dict(event.detail)))

    def of(self, port: str) -> tuple[Happening, ...]:
        """Return what is known of *port*, the oldest first."""
        # After a take-over, what the datapath did first is heard of last.
        return tuple(sorted(self._lives.get(port, ()), key=lambda happening: happening.time))

    def forget(self, port: str) -> None:
        """Drop what is known of *port*: another one may be called so."""
        self._lives.pop(port, None)
