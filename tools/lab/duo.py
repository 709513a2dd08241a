# SPDX-License-Identifier: Apache-2.0
"""Two daemons with one state, each under a supervisor: one serves, the other stands by."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from tools.lab.brickd import Brickd
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.api.methods import HelloResult, TookOver
from vhost_brick_plugin.errors import DaemonUnreachable

LOOK_S = 0.01


@dataclass(frozen=True)
class Change:
    """Another daemon serves; times are :func:`time.monotonic`'s.

    :ivar began: when the old one was killed, or told to hand over.
    :ivar hello: what the new one says.
    :ivar how: part of it.
    :ivar began_to_serve: when the one that serves now began to.
    """

    began: float
    hello: HelloResult
    how: TookOver
    began_to_serve: float


class Duo:
    """See the module.

    :param api_socket: of both.
    """

    def __init__(self, one: Brickd, other: Brickd, api_socket: str) -> None:
        self._daemons = (one, other)
        self._client = Client(api_socket, timeout=20.0)

    def wait_in_sync(self, timeout: float = 30.0) -> None:
        """Wait until the one that does not serve is a standby that knows everything."""

        def in_sync() -> HelloResult | None:
            hello = self._client.hello()
            return hello if hello.standby and hello.standby.in_sync else None

        self._wait(in_sync, "a standby that is in sync", timeout)

    def kill(self, timeout: float = 30.0) -> Change:
        """Kill the one that serves, and wait until the other one does."""
        pid = self._client.hello().pid
        (serving,) = (d for d in self._daemons if d.lives[-1].pid == pid)
        return self._changed(pid, serving.kill().killed, timeout)

    def hand_over(self, timeout: float = 30.0) -> Change:
        """Have the other one serve."""
        began = time.monotonic()
        return self._changed(self._client.handover().pid, began, timeout)

    def _changed(self, old: int, began: float, timeout: float) -> Change:
        def another() -> HelloResult | None:
            hello = self._client.hello()
            return hello if hello.pid != old else None

        hello = self._wait(another, "another daemon that serves", timeout)
        assert hello.took_over, "it has stood by"
        began_to_serve = hello.took_over.time - (time.time() - time.monotonic())
        return Change(began, hello, hello.took_over, began_to_serve)

    def _wait(
        self, look: Callable[[], HelloResult | None], what: str, timeout: float
    ) -> HelloResult:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(DaemonUnreachable):
                if found := look():
                    return found
            time.sleep(LOOK_S)
        raise self._daemons[0].error(f"waited in vain for {what}\n{self._daemons[1].log_tail()}")
