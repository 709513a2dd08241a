# SPDX-License-Identifier: Apache-2.0
"""What of the stand can die and come back, and in which orders."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.neutron.stand import Stand

NAMES = ("agent", "daemon", "server", "bus")
TIMEOUT = 60.0
"""Seconds for all to find each other again: their retries grow apart to 30."""


class Part:
    """A part of the first host or of the controller.

    :param name: one of :data:`NAMES`.
    """

    def __init__(self, stand: Stand, name: str) -> None:
        self.name = name
        self._stand = stand
        self._host = stand.hosts[0]

    def kill(self) -> None:
        what = {
            "agent": self._host.agent,
            "daemon": self._host.daemon,
            "server": self._stand.server,
            "bus": self._stand.bus,
        }
        what[self.name].kill9()

    def start(self) -> None:
        """Start it, without waiting for more than its process."""
        match self.name:
            case "agent":
                self._host.agent.start()
            case "daemon":
                self._host.daemon.spawn()
            case "server":
                self._stand.server.start()
            case "bus":
                self._stand.bus.start()

    def wait_ready(self) -> None:
        """Wait until it serves others, who may not all be there."""
        match self.name:
            case "agent":
                self._host.agent.check()
            case "daemon":
                self._host.daemon.wait_ready()
            case "server":
                self._stand.server.wait_ready()
            case "bus":
                self._stand.bus.wait_ready()


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
