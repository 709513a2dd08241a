# SPDX-License-Identifier: Apache-2.0
"""Notices that messages of Neutron may have been lost.

The queues in which Neutron's notifications wait for an agent live and die with the
message bus and the agent's connections to it, and nobody is told what was lost with
them.  So the agent sends itself a message every few seconds.  One that comes back late,
or never, means that others may not have come either.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger(__name__)

PERIOD_S = 2.0
"""From one message to the next."""

PATIENCE_S = 3.0
"""A message that takes longer is late.  The bus's own clients wait a second before they
reconnect, and its broker takes several to start."""

CALM_S = (5.0, 10.0)
"""From the first message that passes again to the alarm.  At least: each queue has a
connection of its own, and they come back one by one.  At most: an outage hits all agents,
and they should not all ask Neutron at the same moment."""

REST_S = 30.0
"""From one alarm to the next, so that a bus that is merely slow is not made slower."""


class Canary:
    """Sends itself messages in a thread of its own.

    :param send: sends a message with a number; may block or raise while the bus is away.
    :param alarm: called, from that thread, when messages pass again after some may not have.
    """

    def __init__(
        self,
        send: Callable[[int], object],
        alarm: Callable[[], object],
    ) -> None:
        self._send = send
        self._alarm = alarm
        self._number = 0
        self._heard = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus-canary", daemon=True)

    def start(self) -> None:
        """Begin; messages must be received by now."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, without waiting for it."""
        self._stopped.set()
        self._heard.set()

    def hear(self, number: int) -> None:
        """Take a message that came back.  From any thread."""
        if number == self._number:
            self._heard.set()

    def _run(self) -> None:
        rested = 0.0
        suspicious = False
        while not self._stopped.is_set():
            passed = self._try()
            if not passed and not suspicious:
                LOG.warning("The message bus is away or slow: messages may be lost")
            suspicious = suspicious or not passed
            if suspicious and passed and time.monotonic() >= rested:
                self._stopped.wait(random.uniform(*CALM_S))
                self._alarm()
                suspicious, rested = False, time.monotonic() + REST_S
            self._stopped.wait(PERIOD_S)

    def _try(self) -> bool:
        """Tell whether a message comes back in time."""
        self._number += 1
        self._heard.clear()
        begin = time.monotonic()
        try:
            self._send(self._number)
        except Exception as error:
            LOG.debug("The message bus takes no messages: %s", error)
            return False
        return self._heard.wait(PATIENCE_S) and time.monotonic() - begin <= PATIENCE_S
