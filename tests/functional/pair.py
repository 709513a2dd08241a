# SPDX-License-Identifier: Apache-2.0
"""Two daemons with one state: one serves, the other one stands by."""

from __future__ import annotations

from collections.abc import Callable

from tests.functional.daemon import Config, Daemon
from tests.functional.waiting import wait_until
from vhost_brick_plugin.api import methods

STANDBY: Config = {"daemon": {"standby": "on"}}


class Pair:
    """A supervised pair, as two units would be, but that this starts what has ended.

    :ivar serving: the one that serves.
    :ivar standby: the other one, which may not run.
    """

    def __init__(self, serving: Daemon, standby: Daemon) -> None:
        self.serving = serving
        self.standby = standby

    def start_standby(self) -> None:
        """Start the one that does not serve, and wait until it is in sync."""
        self.standby.start()
        self.wait_in_sync()

    def wait_in_sync(self) -> methods.Standby:
        """Wait until the one that serves says that the other one knows everything."""
        return wait_until(self._in_sync, "the standby to be in sync")

    def _in_sync(self) -> methods.Standby | None:
        standby = self.serving.client.hello().standby
        fits = standby is not None and standby.in_sync and standby.pid == self.standby.pid
        return standby if fits else None

    def kill(self) -> methods.HelloResult:
        """Kill the one that serves, and wait until the other one does."""
        self.serving.kill9()
        return self.swapped()

    def hand_over(self) -> methods.HelloResult:
        """Let the one that serves hand over, and wait until the other one does serve."""
        self.serving.client.handover()
        assert self.serving.wait() == 0
        return self.swapped()

    def swapped(self) -> methods.HelloResult:
        """The one that served is gone: wait until the other one answers."""
        self.serving, self.standby = self.standby, self.serving
        hello = self.serving.client.hello()
        assert hello.pid == self.serving.pid
        assert hello.took_over is not None
        assert hello.took_over.from_pid == self.standby.pid
        return hello


def make_pair(make_daemon: Callable[..., Daemon], datapath: str, **kwargs: object) -> Pair:
    """Start two daemons, and wait until the second one is in sync."""
    first = make_daemon(datapath, config=STANDBY, **kwargs)
    second = make_daemon(datapath, config=STANDBY, beside=first, **kwargs)
    pair = Pair(first, second)
    pair.wait_in_sync()
    return pair
