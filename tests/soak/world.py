# SPDX-License-Identifier: Apache-2.0
"""The soak's world: two networks, four residents, two anchors, and who comes by.

It lives in a network namespace of its own, where the kernel says nothing by itself.
What is wanted of the daemon is known here, so that it can be compared with what it has.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from tests.functional.daemon import Config
from tests.functional.exchange import mac
from tests.functional.netns import NetNs
from tests.functional.waiting import wait_until
from tests.functional.wire import Interface, passes
from tests.soak import audit
from tests.soak.guests import Resident, Visitor, wait_residents
from tests.soak.keeper import Keeper
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.model import Uplink, UplinkKind

NETWORKS = ("red", "green")
MODES = ("client", "server")
TAPS = {"red": "vbsoak-red", "blue": "vbsoak-blue"}
"""Of the networks that the host is on; blue comes and goes."""

VISITORS_MAX = 6
FIRST_VISITOR = 100

WELL_S = 20.0
"""Within so much time after anything everybody has to be well again."""


class World:
    """Exists while the ``with`` block runs.

    :param keeper: what keeps the daemon, see :mod:`tests.soak.keeper`.
    :param config: options of the daemon.
    """

    def __init__(self, directory: Path, keeper: type[Keeper], config: Config) -> None:
        self._directory = directory
        self._config = config
        self._keeper_class = keeper
        self._stack = contextlib.ExitStack()
        self._number = FIRST_VISITOR
        self.residents: list[Resident] = []
        self.anchors: dict[str, Visitor] = {}
        self.visitors: list[Visitor] = []
        self.networks: set[str] = set()

    def __enter__(self) -> World:
        with self._stack:
            self.netns = self._stack.enter_context(NetNs(f"vbsoak-{os.getpid()}"))
            silence(self.netns)
            self.keeper = self._keeper_class(self._directory, self.netns.exec, self._config)
            self._stack.callback(self._end)
            self._settle_down()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        for resident in self.residents:
            resident.vm.kill()
        for visitor in (*self.visitors, *self.anchors.values()):
            visitor.vm.kill()
        for daemon in self.keeper.processes():
            daemon.cleanup()

    def _settle_down(self) -> None:
        for network in NETWORKS:
            self.ensure_network(network)
            self.anchors[network] = self.new_visitor(network, "client", 1)
        shape = enumerate((network, mode) for network in NETWORKS for mode in MODES)
        for number, (network, mode) in shape:
            queues = 1 + (network == "green")
            path = self.ensure_port(f"resident{number}", network, mode, number, queues)
            resident = Resident(
                self._directory,
                path,
                number,
                number ^ 1,
                mode=mode,
                queues=queues,
                size=(64, 1500)[number % 2],
            )
            self.residents.append(resident)
        for resident in self.residents:
            resident.talk()

    # -- what is asked of the daemon: each of these may be repeated ----------------

    @property
    def client(self) -> Client:
        return self.keeper.serving.client

    def ensure_network(self, name: str) -> None:
        taps = [TAPS[name]] if name in TAPS else []
        uplinks = tuple(Uplink(kind=UplinkKind.TAP, name=tap) for tap in taps)
        self.client.network_ensure(network=name, uplinks=uplinks)
        self.networks.add(name)
        for tap in taps:
            self.netns.ip("link", "set", tap, "up")

    def remove_network(self, name: str) -> None:
        self.client.network_remove(network=name)
        self.networks.discard(name)

    def ensure_port(
        self, id: str, network: str, mode: str, number: int, queues: int, **changes: object
    ) -> str:
        """Make a port, or change it; returns the path of its socket."""
        path = str(self.keeper.serving.socket_path(id))
        self.client.port_ensure(
            id=id,
            network=network,
            mode=mode,
            mac=mac(number),
            queues=queues,
            socket_path=path,
            **changes,
        )
        return path

    # -- visitors ----------------------------------------------------------------

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def new_visitor(self, network: str, mode: str, queues: int) -> Visitor:
        """Make a port and a frontend on it, which is connected."""
        number = self.next_number()
        path = self.ensure_port(f"v{number}", network, mode, number, queues)
        visitor = Visitor(path, number, network=network, mode=mode, queues=queues)
        visitor.vm.connect()
        return visitor

    def dismiss(self, visitor: Visitor) -> None:
        """Delete its port under it."""
        self.visitors.remove(visitor)
        self.client.port_remove(id=visitor.id)
        visitor.vm.wait_disconnect()
        visitor.close()

    def dismiss_all(self) -> None:
        """Bring the world back to what it was at first."""
        for visitor in list(self.visitors):
            self.dismiss(visitor)
        if "blue" in self.networks:
            self.remove_network("blue")

    # -- is everybody well? --------------------------------------------------------

    def settle(self) -> None:
        """Wait until everybody is well."""
        for visitor in (*self.anchors.values(), *self.visitors):
            visitor.heal()
        wait_residents(self.residents, WELL_S)
        for visitor in self.visitors:
            if visitor.network in self.anchors:
                visitor.exchange(self.anchors[visitor.network])

    def reach_host(self, visitor: Visitor) -> None:
        """Let a visitor and the kernel exchange frames by the network's tap."""
        with Interface(self.netns, TAPS[visitor.network]) as host:
            visitor.vm.receive_all()
            passes(visitor.vm, host, b"up")
            passes(host, visitor.vm, b"down", src=1)

    def status(self, visitor: Visitor) -> PortStatus:
        status: PortStatus = self.client.port_show(id=visitor.id)
        return status

    def wait_fault(self, visitor: Visitor, name: str) -> None:
        """Wait until a visitor's port has a fault; an empty name: has none."""

        def right() -> bool:
            fault = self.status(visitor).fault
            return (fault.name if fault else "") == name

        wait_until(right, f"the fault {name or '(none)'} at {visitor.id}", WELL_S, interval=0.02)

    def check_wanted(self) -> list[str]:
        """Compare what the daemon has with what it shall have."""
        found = []
        ports = {status.port.id for status in self.client.port_list().ports}
        wanted = {r.name for r in self.residents}
        wanted |= {v.id for v in (*self.anchors.values(), *self.visitors)}
        if ports != wanted:
            found.append(f"ports {sorted(ports)} instead of {sorted(wanted)}")
        networks = {status.network.name for status in self.client.network_list().networks}
        if networks != self.networks:
            found.append(f"networks {sorted(networks)} instead of {sorted(self.networks)}")
        return found

    # -- at rest -------------------------------------------------------------------

    def audit(self) -> tuple[audit.Sums, list[str]]:
        """Look at everything at rest; returns the sums of this life, and what is wrong."""
        daemon = self.keeper.serving
        for resident in self.residents:
            resident.hush()
        stats = audit.rest(daemon)
        found = audit.check_sums(stats)
        if not found:
            found = audit.check_sample(daemon, self.residents)
        found += [f"{r.name} received damaged frames" for r in self.residents if r.stats().rx_bad]
        found += self.check_wanted()
        for resident in self.residents:
            resident.talk()
        return audit.sums(stats), found


def silence(netns: NetNs) -> None:
    """Keep the kernel from talking IPv6 on the taps."""
    knob = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
    subprocess.run([*netns.exec, "sh", "-c", f"echo 1 >{knob}"], check=True)
