# SPDX-License-Identifier: Apache-2.0
"""The cables of the stand: namespaces, bridges and pairs of interfaces.

::

    controller            host1, host2                  fabric
    ----------            ------------                  ------
    server, bus           vhost-brickd, agent           a switch, and scapy
      mgmt (bridge) ------- mgmt                          |
                            eth1 -------------------------+ (bridge)

``mgmt`` carries RPC and VXLAN; ``eth1`` is the physical network and carries
nothing but what the hosts' datapaths put on it.  Its name and the address of host1
are those of doc/source/openstack.rst.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

from tests.functional.netns import NetNs

CONTROLLER = "192.0.2.1"
PREFIX = 24
MGMT, TRUNK, SWITCH = "mgmt", "eth1", "switch"
MTU = 1600
"""Room for a VXLAN header around 1500 bytes."""


def host_address(number: int) -> str:
    """Return the address of a host, numbered from 1, on the management network."""
    return f"192.0.2.{10 + number}"


class Wires:
    """All namespaces of a stand, wired; gone after the ``with`` block."""

    def __init__(self, hosts: int) -> None:
        prefix = f"vbn{os.getpid()}"
        self.controller = NetNs(f"{prefix}-controller")
        self.fabric = NetNs(f"{prefix}-fabric")
        self.hosts = [NetNs(f"{prefix}-host{n}") for n in range(1, hosts + 1)]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Wires:
        with contextlib.ExitStack() as stack:
            for ns in (self.controller, self.fabric, *self.hosts):
                stack.enter_context(ns)
                silence(ns)
            self._wire()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self) -> None:
        add_bridge(self.controller, MGMT)
        add_bridge(self.fabric, SWITCH)
        self.controller.ip("addr", "add", f"{CONTROLLER}/{PREFIX}", "dev", MGMT)
        for number, host in enumerate(self.hosts, 1):
            connect(host, MGMT, self.controller, f"host{number}", MGMT)
            connect(host, TRUNK, self.fabric, f"host{number}", SWITCH)
            host.ip("addr", "add", f"{host_address(number)}/{PREFIX}", "dev", MGMT)


def silence(ns: NetNs) -> None:
    """Keep the kernel from talking IPv6 on links where only the test shall talk."""
    knob = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
    subprocess.run([*ns.exec, "sh", "-c", f"echo 1 >{knob}"], check=True)


def add_bridge(ns: NetNs, name: str) -> None:
    ns.ip("link", "add", name, "mtu", str(MTU), "type", "bridge")
    ns.ip("link", "set", name, "up")


def connect(host: NetNs, interface: str, peer: NetNs, port: str, bridge: str) -> None:
    """Plug *interface* of a host into *bridge* of another namespace, where it is *port*."""
    host.ip(
        *("link", "add", interface, "mtu", str(MTU), "type", "veth"),
        *("peer", "name", port, "mtu", str(MTU), "netns", peer.name),
    )
    peer.ip("link", "set", port, "master", bridge, "up")
    host.ip("link", "set", interface, "up")


@contextlib.contextmanager
def cut_off(host: NetNs) -> Iterator[None]:
    """Have a host without its management network while the block runs."""
    host.ip("link", "set", MGMT, "down")
    try:
        yield
    finally:
        host.ip("link", "set", MGMT, "up")
