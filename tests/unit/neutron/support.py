# SPDX-License-Identifier: Apache-2.0
"""A host with a daemon over the fake datapath, all in one thread."""

from __future__ import annotations

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
    """A client whose daemon answers within the call.

    :ivar away: nobody answers.
    :ivar changes: the requests that changed something.
    """

    path = "/nowhere"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.away = False
        self.requests: list[methods.Method[Any]] = []

    def call(self, request: methods.Method[Any]) -> Any:
        if self.away:
            raise errors.DaemonUnreachable("the daemon is away")
        self.requests.append(request)
        if isinstance(request, methods.Hello):
            return stub_daemon.hello(datapath_info={"nics": "nic0, nic9"})
        if isinstance(request, methods.ConfigDump):
            options = {"vhost.socket_dir": f"{self.bench.settings.socket_dir}/"}
            return methods.ConfigResult(options=options, files=())
        return self.bench.call(request)

    def changes(self) -> list[methods.Method[Any]]:
        """Return, and forget, the requests that ask for a change."""
        asked = [r for r in self.requests if r.name.endswith(("_ensure", "_remove"))]
        self.requests.clear()
        return asked


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
        self.bench.ensure(port, network, mac=_mac(port))

    def unplug(self, port: str = PORT) -> None:
        self.bench.call(methods.PortRemove(id=port))

    # -- the watcher -----------------------------------------------------------

    def start(self) -> None:
        """Nothing to start."""

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
        return self.bench.service.port_show(methods.PortShow(id=id)).port

    def networks(self) -> dict[str, Any]:
        listed = self.bench.service.network_list(methods.NetworkListCall()).networks
        return {status.network.name: status.network for status in listed}


def _mac(port: str) -> str:
    return f"52:54:00:00:00:{uuid.UUID(port).int % 256:02x}"
