# SPDX-License-Identifier: Apache-2.0
"""Agent, daemon, server and bus die under traffic, in any order: ports that nobody changed
lose nothing but the daemon's own outage, and what was changed meanwhile is applied."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.frontend import vuser
from tests.frontend.vuser import VUser
from tests.functional.exchange import wait_traffic
from tests.functional.waiting import wait_until
from tests.neutron import compute, parts
from tests.neutron.api import Resource
from tests.neutron.cloud import Cloud
from tests.neutron.guest import Guest, carries, talk
from tests.neutron.host import TRUNK_NET, Host
from tests.neutron.parts import Part
from tests.neutron.wires import cut_off

RATE, QUEUE_SIZE = 100, 1024
"""Frames a second of each port: a kill hits some, and no queue overflows on a busy machine."""

SOURCE_IP = "198.18.0.1"
"""What ``vuser`` sends from."""

MOVED_IP = "198.18.99.99"
SEED = 20


class Pair:
    """Two ports that send each other numbered frames without end."""

    def __init__(
        self, cloud: Cloud, vm: VUser, network: Resource, hosts: tuple[Host, Host]
    ) -> None:
        self.vm = vm
        self.hosts = hosts
        pairs = [{"ip_address": SOURCE_IP}]
        ports = [cloud.port(network, host, allowed_address_pairs=pairs) for host in hosts]
        self.ids = [port["id"] for port in ports]
        self.names = [short(port) for port in ports]
        for host, port in zip(hosts, ports, strict=True):
            vif = compute.make_vif(port, network)
            compute.plug(host.daemon, vif)
            cloud.at_end(compute.unplug, host.daemon, vif)
            vm.add(short(port), vif.path, server=True, queue_size=QUEUE_SIZE, mac=vif.address)
        for port in ports:
            vm.wait_link(short(port))
            cloud.wait_status(port["id"], "ACTIVE")
        for one, other in itertools.permutations(ports, 2):
            vm.start(short(one), dst=other["mac_address"], rate=RATE)
        self.wait()
        self._lost = self._count_lost()

    def wait(self) -> None:
        """Wait until frames pass, both ways."""
        wait_traffic([(self.vm, name) for name in self.names])

    def take_lost(self) -> int:
        """Return how many frames were lost since this was last asked, once frames pass."""
        self.wait()
        before, self._lost = self._lost, self._count_lost()
        return self._lost - before

    def drops(self) -> list[tuple[str, str, int]]:
        """Return what its hosts have dropped, and why."""
        return [
            (brick.brick, reason, count)
            for host in self.hosts
            for brick in host.daemon.client.stats().bricks
            for reason, count in brick.counters.drops.items()
        ]

    def _count_lost(self) -> int:
        stats = [self.vm.stats(name) for name in self.names]
        assert not any(s.rx_bad for s in stats)
        return sum(s.lost for s in stats)


def short(port: Resource) -> str:
    """Return a name that is not too long for ``vuser``."""
    return str(port["id"])[:8]


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[VUser]:
    vuser.build()
    with VUser(tmp_path, memory_mb=256) as vm:
        yield vm


@pytest.fixture
def fatal(cloud: Cloud) -> Iterator[Cloud]:
    """A cloud whose parts the test kills; whatever is dead at its end comes back."""
    yield cloud
    for name in parts.NAMES:
        Part(cloud.stand, name).revive()


@pytest.mark.timeout(600)
def test_any_two_parts_may_die_in_any_order_under_traffic(fatal: Cloud, vm: VUser) -> None:
    cloud, stand = fatal, fatal.stand
    one, other = stand.hosts
    pairs = [
        Pair(cloud, vm, cloud.network("vlan", TRUNK_NET, 101), (one, other)),
        Pair(cloud, vm, cloud.network("vxlan"), (one, other)),
        Pair(cloud, vm, cloud.network("local"), (other, other)),
    ]
    down = None
    for name in parts.walk(parts.NAMES, SEED):
        part = Part(stand, name)
        part.kill()
        if down:
            down.start()
        check_losses(pairs, one, restarted=bool(down and down.name == "daemon"), dead=name)
        down = part
    assert down
    down.start()
    check_losses(pairs, one, restarted=down.name == "daemon", dead="")

    # All find each other again, and what they do then disturbs nobody either.
    for host in stand.hosts:
        stand.wait_agent(host, parts.TIMEOUT)
        network = cloud.network("vxlan")
        guest = cloud.start(cloud.port(network, host), network, host)
        cloud.wait_status(guest.id, "ACTIVE", parts.TIMEOUT)
    for pair in pairs:
        for id in pair.ids:
            cloud.wait_status(id, "ACTIVE")
    check_losses(pairs, one, restarted=False, dead="")


def check_losses(pairs: list[Pair], host: Host, restarted: bool, dead: str) -> None:
    """Fail if a pair lost frames for which the daemon of *host* has no excuse."""
    for pair in pairs:
        if host in pair.hosts and dead == "daemon":
            continue
        lost = pair.take_lost()
        if host not in pair.hosts or not restarted:
            assert lost == 0, f"{dead or 'nothing'} is dead; dropped: {pair.drops()}"


class Changes:
    """Changes of all kinds, each on a port of its own, and the proof that they were applied."""

    def __init__(self, cloud: Cloud) -> None:
        host, far = cloud.stand.hosts
        network = cloud.network("vlan", TRUNK_NET, 101)
        self.cloud = cloud
        self.peer = cloud.guest(network, far)
        self.moved, self.shut, self.stopped = (cloud.guest(network, host) for _ in range(3))
        self.booted = Guest(host, cloud.port(network, host), network)
        talk([self.peer, self.moved, self.shut, self.stopped])

    def by_nova(self) -> None:
        """Nova boots one server and stops another."""
        self.cloud.boot(self.booted)
        self.stopped.delete()

    def by_user(self) -> None:
        """A user lets a guest send from one more address, and shuts another's port."""
        pairs = [{"ip_address": MOVED_IP}]
        self.cloud.api.update("port", self.moved.id, allowed_address_pairs=pairs)
        self.cloud.api.update("port", self.shut.id, admin_state_up=False)

    def check_nova(self) -> None:
        self.cloud.wait_status(self.booted.id, "ACTIVE", parts.TIMEOUT)
        talk([self.booted, self.peer])

    def check_user(self) -> None:
        frame = self.moved.datagram(self.peer.mac, ip=MOVED_IP)

        def passed() -> bool:
            self.moved.send(frame)
            return any(map(carries(frame), self.peer.received()))

        def shut() -> bool:
            self.shut.send(self.shut.datagram())
            counters = self.shut.host.daemon.client.port_show(id=self.shut.id).counters
            return counters.drops.get("port_closed", 0) > 0

        wait_until(passed, "the new address to be allowed", parts.TIMEOUT)
        wait_until(shut, "the port to be shut", parts.TIMEOUT)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", parts.NAMES)
def test_changes_made_meanwhile_are_applied(fatal: Cloud, name: str) -> None:
    changes = Changes(fatal)
    part = Part(fatal.stand, name)
    part.kill()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # Without a bus the server answers only when that is back.
        request = pool.submit(changes.by_user) if name != "server" else None
        if name != "daemon":
            changes.by_nova()
        part.start()
        if request:
            request.result(parts.TIMEOUT)
    if name == "daemon":
        for guest in (changes.moved, changes.shut, changes.stopped):
            guest.reconnect()
        changes.by_nova()
    if request:
        changes.check_user()
    changes.check_nova()
    if name != "agent":
        # What went while it was dead no agent of Neutron's can know of; Nova unbinds it.
        fatal.wait_status(changes.stopped.id, "DOWN", parts.TIMEOUT)
    talk([changes.peer, changes.moved])


@pytest.mark.timeout(300)
def test_messages_that_reached_nobody_are_made_up_for(fatal: Cloud) -> None:
    """The bus comes back sooner than a host does, whose queues are gone meanwhile."""
    cloud = fatal
    host, far = cloud.stand.hosts
    changes = Changes(cloud)
    network = cloud.network("vxlan")
    near = cloud.guest(network, host)
    bus = Part(cloud.stand, "bus")
    bus.kill()
    with cut_off(host.ns):
        bus.start()
        changes.by_user()
        distant = cloud.guest(network, far)
    changes.check_user()
    near.reaches(distant, parts.TIMEOUT)
    distant.reaches(near, parts.TIMEOUT)
