# SPDX-License-Identifier: Apache-2.0
"""What of the stand can die and come back, and in which orders."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.neutron.bus import Bus
from tests.neutron.server import Server
from tests.neutron.stand import Stand

NAMES = ("agent", "daemon", "server", "bus")
TIMEOUT = 60.0
"""Seconds for all to find each other again: their retries grow apart to 30."""


class Part:
    """A part of the first host or of the controller.

    :param name: one of :data:`NAMES`.
    """

    def __init__(self, stand: Stand, name: str) -> None:
        host = stand.hosts[0]
        parts = {
            "agent": host.agent,
            "daemon": host.daemon,
            "server": stand.server,
            "bus": stand.bus,
        }
        self.name = name
        self._part = parts[name]

    def kill(self) -> None:
        self._part.kill9()

    def start(self) -> None:
        """Start it, and wait until it serves others, who may not all be there."""
        self._part.start()
        if isinstance(self._part, Server | Bus):
            self._part.wait_ready()

    def revive(self) -> None:
        """Start it if it is dead."""
        if not self._part.running:
            self.start()


def walk(names: Sequence[str], seed: int) -> list[str]:
    """Return a closed walk in which each name is followed by each other exactly once.

    So each pair is down together once in each order, if a name is killed when
    it is reached and started again after the next was killed.
    """
    order = random.Random(seed)
    left = {(a, b) for a in names for b in names if a != b}
    path, found = [order.choice(names)], []
    while path:
        ways = sorted(b for a, b in left if a == path[-1])
        if ways:
            path.append(order.choice(ways))
            left.remove((path[-2], path[-1]))
        else:
            found.append(path.pop())
    return found[::-1]
