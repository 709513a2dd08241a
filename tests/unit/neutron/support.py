# SPDX-License-Identifier: Apache-2.0
"""A host with a daemon over the fake datapath, all in one thread."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

from tests.unit import stub_daemon
from tests.unit.support import Bench, Clock
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.model import UplinkKind
from vhost_brick_plugin.neutron.segments import Device, Outside
from vhost_brick_plugin.neutron.watch import News
from vhost_brick_plugin.neutron.wiring import Wiring

WAIT_S = 10
LOCAL = "192.0.2.1"
OUTSIDE = Outside(
    mappings={
        "phys0": Device(UplinkKind.NIC, "nic0"),
        "phys1": Device(UplinkKind.TAP, "tap1"),
    },
    local_ip=LOCAL,
)


def name(number: int) -> str:
    """Return the UUID that stands for *number*."""
    return str(uuid.UUID(int=number))


NET, OTHER_NET = name(0xA), name(0xB)
PORT, OTHER_PORT = name(1), name(2)


class Daemon:
    """A client whose daemon answers within the call, one call at a time.

    :ivar away: nobody answers.
    """

    path = "/nowhere"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.away = False
        self._requests: list[methods.Method[Any]] = []
        self._called = threading.Condition()

    def call(self, request: methods.Method[Any]) -> Any:
        with self._called:
            if self.away:
                raise errors.DaemonUnreachable("the daemon is away")
            try:
                return self._answer(request)
            finally:
                self._requests.append(request)
                self._called.notify_all()

    def _answer(self, request: methods.Method[Any]) -> Any:
        if isinstance(request, methods.Hello):
            return stub_daemon.hello(datapath_info={"nics": "nic0, nic9"})
        if isinstance(request, methods.ConfigDump):
            options = {"vhost.socket_dir": f"{self.bench.settings.socket_dir}/"}
            return methods.ConfigResult(options=options, files=())
        return self.bench.call(request)

    def changes(self) -> list[methods.Method[Any]]:
        """Return, and forget, the requests that ask for a change."""
        with self._called:
            asked = [r for r in self._requests if r.name.endswith(("_ensure", "_remove"))]
            self._requests.clear()
        return asked

    def wait_for(self, method: type[methods.Method[Any]]) -> Any:
        """Wait for a request since the last look at them, and return it."""

        def find() -> list[Any]:
            return [r for r in self._requests if isinstance(r, method)]

        with self._called:
            assert self._called.wait_for(find, WAIT_S), f"no {method.name}"
            return find()[-1]


class Host:
    """A daemon and the wiring of its agent.

    It stands in for the watcher, too: it passes on what the daemon emitted.
    """

    def __init__(self, directory: Path, outside: Outside = OUTSIDE) -> None:
        self.bench = Bench(directory, options=Options(nics={"nic0": "net_null0"}))
        self.daemon = Daemon(self.bench)
        self.clock = Clock()
        self.outside = outside
        self.problem = ""
        self.restart_agent()

    def restart_agent(self) -> None:
        self._news = News(all=True)
        self._seen = len(self.bench.events)
        self.wiring = Wiring(self.daemon, self.outside, self, self.clock)

    def restart_daemon(self) -> None:
        """What the agent notices of a restart: the connection is new."""
        self._news.all = True

    # -- Nova ------------------------------------------------------------------

    def plug(self, port: str = PORT, network: str = NET) -> None:
        self._nova(
            methods.PortEnsure(id=port, network=network, mac=mac(port), create_network=True)
        )

    def unplug(self, port: str = PORT) -> None:
        self._nova(methods.PortRemove(id=port))

    def _nova(self, request: methods.Method[Any]) -> None:
        self.daemon.call(request)
        self.daemon.changes()
        self.wake()

    # -- the watcher -----------------------------------------------------------

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nor to stop."""

    def wake(self) -> None:
        """Tell that there is news; nobody listens."""

    def take(self) -> News:
        if self.daemon.away:
            raise errors.DaemonUnreachable("the daemon is away")
        events = self.bench.events[self._seen :]
        self._seen = len(self.bench.events)
        self._news.ports |= {event.port for event in events if event.port}
        news, self._news = self._news, News()
        return news

    def give_back(self, news: News) -> None:
        self._news.all |= news.all
        self._news.ports |= news.ports

    # -- what came of it -------------------------------------------------------

    def port(self, id: str = PORT) -> Any:
        return self.daemon.call(methods.PortShow(id=id)).port

    def networks(self) -> dict[str, Any]:
        listed = self.daemon.call(methods.NetworkListCall()).networks
        return {status.network.name: status.network for status in listed}


def mac(port: str) -> str:
    """Return the MAC of a port."""
    return f"52:54:00:00:00:{uuid.UUID(port).int % 256:02x}"
