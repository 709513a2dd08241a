# SPDX-License-Identifier: Apache-2.0
"""A small cloud: Neutron's server, the message bus, and two hosts, all for real.

Neutron comes from the package index, RabbitMQ and MariaDB from Debian; only
Keystone is left out.  Everything but the database, which listens on a Unix
socket, is in namespaces of its own; see :mod:`tests.neutron.wires`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.functional.waiting import wait_until
from tests.neutron.api import INTERVAL, Api, Resource
from tests.neutron.bus import Bus
from tests.neutron.database import Database
from tests.neutron.host import TAP_NET, TRUNK_NET, Host
from tests.neutron.server import Options, Server
from tests.neutron.wires import CONTROLLER, Wires, host_address
from vhost_brick_plugin.neutron.constants import AGENT_TYPE

NOWHERE_NET = "physnet3"
"""A physical network that no host has."""
VLANS = range(100, 200)
TIMEOUT = 30.0
"""Seconds for what takes a few messages and a turn of the agent's loop."""

OPTIONS = {
    "ml2": {
        "type_drivers": "flat,vlan,vxlan,local",
        "project_network_types": "vxlan",
        "mechanism_drivers": "vhost_brick,l2population",
        "extension_drivers": "port_security",
    },
    "ml2_type_flat": {"flat_networks": f"{TRUNK_NET},{TAP_NET},{NOWHERE_NET}"},
    "ml2_type_vlan": {
        "network_vlan_ranges": ",".join(
            f"{name}:{VLANS.start}:{VLANS.stop - 1}" for name in (TRUNK_NET, TAP_NET)
        )
    },
    "ml2_type_vxlan": {"vni_ranges": "1000:1999"},
}


class Stand:
    """All of it, running while the ``with`` block does.

    :param directory: short, because sockets are in it.
    :param make_host: makes a host of what :class:`Host` is made of.
    :param options: of Neutron's server.
    :param files: config files that it reads before these.
    """

    def __init__(
        self,
        directory: Path,
        hosts: int = 2,
        make_host: Callable[..., Any] = Host,
        options: Options = OPTIONS,
        files: Sequence[Path] = (),
    ) -> None:
        self.directory = directory
        self._count = hosts
        self._make_host = make_host
        self._options = options
        self._files = files
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Stand:
        with contextlib.ExitStack() as stack:
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self, stack: contextlib.ExitStack) -> None:
        """Start what takes long first, and wait for it last."""
        self.wires = stack.enter_context(Wires(self._count))
        self.bus = Bus(self.directory / "bus", self.wires.controller, CONTROLLER)
        stack.callback(self.bus.stop)
        self.bus.start()
        self.database = Database(self.directory / "db", "neutron")
        stack.callback(self.database.stop)
        self.database.start()
        self.server = Server(
            self.directory / "server",
            self.wires.controller,
            self.bus.url,
            self.database.url,
            self._options,
            self._files,
        )
        stack.callback(self.server.stop)
        self.server.make_tables()
        self.bus.wait_ready()
        self.server.start()
        self.hosts = []
        for number, ns in enumerate(self.wires.hosts, 1):
            name = f"host{number}"
            host = self._make_host(
                name, self.directory / name, ns, self.bus.url, host_address(number)
            )
            stack.callback(host.stop)
            self.hosts.append(host)
            host.daemon.start()
        self.server.wait_ready()
        for host in self.hosts:
            host.agent.start()
        for host in self.hosts:
            self.wait_agent(host)

    @property
    def api(self) -> Api:
        return self.server.api

    def wait_agent(self, host: Host, timeout: float = TIMEOUT) -> Resource:
        """Wait until the server has heard of the agent of *host*, and return what."""

        def alive() -> Resource | None:
            host.agent.check()
            for agent in self.api.list("agent"):
                if (agent["host"], agent["agent_type"]) == (host.name, AGENT_TYPE):
                    return agent if agent["alive"] else None
            return None

        return wait_until(alive, f"the agent of {host.name}", timeout, INTERVAL)

    def age_heartbeat(self, host: Host) -> None:
        """Make the server think that it has not heard of an agent for long."""
        changed = self.database.execute(
            "UPDATE agents SET heartbeat_timestamp = '2020-01-01' WHERE host = %s", host.name
        )
        assert changed == 1

    def logs(self) -> Iterator[tuple[str, str]]:
        """Yield the names and the ends of all logs."""
        for path in sorted(self.directory.rglob("*.log")):
            yield str(path), path.read_bytes()[-8000:].decode(errors="replace")
