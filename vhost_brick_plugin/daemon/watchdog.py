# SPDX-License-Identifier: Apache-2.0
"""Signs of life for the supervisor, as long as the datapath gives any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from vhost_brick_plugin.daemon import notify

LOG = logging.getLogger(__name__)

STALL_S = 2.0
"""A thread of the datapath without a sign of life for so long is stuck."""


async def watch(stalled: Callable[[float], Awaitable[Collection[str]]]) -> None:
    """Give signs of life while *stalled* names no thread.

    A stuck datapath gives none and is restarted by the supervisor: guests
    recover from a dead backend, and freeze on a hung one.
    """
    interval = notify.watchdog_interval()
    while interval is not None:
        stuck = await stalled(STALL_S)
        if stuck:
            LOG.critical("No sign of life from %s: waiting to be restarted", stuck)
        else:
            notify.notify("WATCHDOG=1")
        await asyncio.sleep(interval)
