# SPDX-License-Identifier: Apache-2.0
"""From a request to the one who answers it, on the right thread.

``hello``, ``config_dump`` and ``watch`` are answered by the event loop, so
that they work however busy the datapath is; all else waits for its turn on the
datapath's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.api import methods, wire
from vhost_brick_plugin.daemon.peer import Peer

LOG = logging.getLogger(__name__)

Handlers = Mapping[str, Callable[[Any], Any]]

_QUIET = ("hello", "watch", "config_dump", "stats", "graph")
_READS = ("_list", "_show")


class Dispatcher:
    """Carries out requests.

    :param quick: handlers that never wait, by method.
    :param slow: handlers that must run on *executor*.
    """

    def __init__(self, quick: Handlers, slow: Handlers, executor: Executor) -> None:
        self._quick = quick
        self._slow = slow
        self._executor = executor

    async def __call__(self, who: Peer, request: wire.Request) -> Any:
        """Return the result of *request* as JSON, or a Stream as it is.

        :raises errors.MethodNotFound: there is no such method.
        :raises errors.InvalidParams: its parameters are not what it is declared with.
        """
        method = methods.METHODS.get(request.method)
        if method is None:
            raise errors.MethodNotFound(f"there is no method {request.method!r}")
        params = codec.from_json(method, request.params, request.method)
        if request.method in self._quick:
            return codec.to_json(self._quick[request.method](params))
        return await self._run(who, request.method, params)

    async def _run(self, who: Peer, name: str, params: Any) -> Any:
        loop = asyncio.get_running_loop()
        level = logging.DEBUG if _only_reads(name) else logging.INFO
        try:
            result = await loop.run_in_executor(self._executor, self._handle, name, params)
        except errors.VhostBrickError as e:
            LOG.log(level, "%s of %s failed: %s: %s", name, who, params, e)
            raise
        LOG.log(level, "%s of %s: %s", name, who, params)
        return result

    def _handle(self, name: str, params: Any) -> Any:
        # Turning thousands of ports into JSON takes a while too: not on the loop.
        return codec.to_json(self._slow[name](params))


def _only_reads(name: str) -> bool:
    return name in _QUIET or name.endswith(_READS)
