# SPDX-License-Identifier: Apache-2.0
"""Signs of life for the supervisor, as long as the datapath's thread gets to its work.

That is for those who ask the daemon for something.  Guests depend on other
threads, and those on a watchdog of the datapath's own.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from vhost_brick_plugin.daemon import notify


async def show_life(thread: Executor) -> None:
    """Give them for ever, if the supervisor wants any."""
    interval = notify.watchdog_interval()
    while interval is not None:
        await asyncio.get_running_loop().run_in_executor(thread, lambda: None)
        notify.notify("WATCHDOG=1")
        await asyncio.sleep(interval)
