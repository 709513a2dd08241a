# SPDX-License-Identifier: Apache-2.0
"""Calls that bridge a restart of the daemon.  From any thread; standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import client, methods

INTERVAL_S = 0.1
"""Between two tries while the daemon is away: it restarts in a fraction of a second."""

R = TypeVar("R")


def call(
    path: str,
    request: methods.Method[R],
    timeout: float,
    worth_waiting: Callable[[], bool] = lambda: True,
) -> R:
    """Call the daemon; while nobody is there and it is *worth_waiting*, try again.

    :param path: the daemon's API socket.
    :param timeout: seconds for all of it.
    :param worth_waiting: asked until it says yes once.
    :raises errors.DaemonTimeout: somebody is there and has not answered in time.
    :raises errors.DaemonUnreachable: *timeout* has passed, or waiting is no use.
    :raises errors.VhostBrickError: what the daemon answered, by its class.
    """
    deadline = time.monotonic() + timeout
    waiting = False
    while True:
        left = deadline - time.monotonic()
        try:
            return client.Client(path, left).call(request)
        except errors.DaemonTimeout:
            raise
        except errors.DaemonUnreachable:
            waiting = waiting or worth_waiting()
            if not waiting or deadline - time.monotonic() <= INTERVAL_S:
                raise
        time.sleep(INTERVAL_S)
