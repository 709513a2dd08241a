# SPDX-License-Identifier: Apache-2.0
"""A running guest moves from one host's vhost-brickd to another's, by libvirt, and back.

Each host is a daemon and a libvirtd of its own, in a network namespace; a tunnel joins
their networks.  On the first host are a guest that stays, and pings the other one all
the time as that pings it, and a witness, which sends datagrams that the guest keeps where
they were received: see ``tools/lab/guest/keeper.c``.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import libvirt
import pytest

from tests.functional.netns import NetNs, join
from tests.functional.waiting import wait_until
from tests.vm.witness import RARP, Witness, announces
from tools.lab import datagrams
from tools.lab.lab import Guest
from tools.lab.migration import KERNEL_OPTIONS, Migration
from tools.lab.pair import ADDRESSES, BOOT_TIMEOUT_S, INTERVAL_MS, Watch
from tools.lab.stand import NETWORK, Host, Stand, wait_answers, work_dir
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.api.methods import PortStatus

ENDS = ("192.0.2.1", "192.0.2.2")

MTU = 1400
"""Room for a VXLAN header on the wire."""

SILENCE_LIMIT_MS = 10_000
"""Nothing is measured here: a guest that was lost for good is what this finds."""

KEPT_MIN = 300
"""Datagrams: more than the places of a ring, so that pages are written while the guest moves."""

MODES = ("client", "server")


@dataclass
class Cloud:
    """Both hosts, and where the guest that moves is.

    :ivar stays: the guest on the first host that does not.
    :ivar here: the host of *guest*.
    """

    hosts: tuple[Stand, Stand]
    stays: Guest
    witness: Witness
    guest: Guest
    here: Stand
    there: Stand

    def begin(self) -> Migration:
        return Migration(self.guest, self.here, self.there)

    def arrive(self, migration: Migration) -> None:
        """Wait for its success; the guest is *here* again then."""
        self.guest = migration.wait()
        self.here, self.there = self.there, self.here

    def sessions(self, host: Stand) -> list[str]:
        """Return the states of the sessions that the guest's port has on a host."""
        return [session.state for session in self._port(host).sessions]

    def mac(self) -> bytes:
        return bytes.fromhex(self._port(self.here).port.mac.replace(":", ""))

    def _port(self, host: Stand) -> PortStatus:
        return Client(str(host.api_socket)).port_show(id=self.guest.name)


@pytest.fixture(scope="module")
def hosts(logged: Callable[[Stand], None]) -> Iterator[tuple[Stand, Stand]]:
    """Return two hosts with joined networks."""
    with contextlib.ExitStack() as stack:
        spaces = [stack.enter_context(NetNs(f"vbm{i}-{os.getpid()}")) for i in range(2)]
        join(*spaces, (f"{ENDS[0]}/24", f"{ENDS[1]}/24"))
        directory = stack.enter_context(work_dir("vb-move"))
        machine = Host.probe()
        made = []
        for name, space in zip("ab", spaces, strict=True):
            place = directory / name
            place.mkdir(mode=0o711)
            stand = Stand(machine, place, wrap=space.exec, hostname=f"host-{name}")
            made.append(stack.enter_context(stand))
            logged(stand)
        for stand, local, remote in zip(made, ENDS, ENDS[::-1], strict=True):
            tunnel = f"vni=7,local={local},remote={remote}"
            stand.run("network", "create", NETWORK, "--mtu", str(MTU), "--vxlan", tunnel)
        yield made[0], made[1]


@pytest.fixture(scope="module")
def stays(hosts: tuple[Stand, Stand]) -> Guest:
    return boot(hosts[0], "two", "client", peer="one")


@pytest.fixture(scope="module")
def witness(hosts: tuple[Stand, Stand]) -> Iterator[Witness]:
    hosts[0].create_port("witness", "client")
    with Witness(hosts[0].socket_dir / "witness") as witness:
        yield witness


@pytest.fixture(scope="module", params=MODES)
def booted(
    request: pytest.FixtureRequest, hosts: tuple[Stand, Stand], stays: Guest, witness: Witness
) -> Iterator[Cloud]:
    """Return a cloud whose guest on the move has a port of one mode on either host."""
    here, there = hosts
    there.create_port("one", request.param)
    guest = boot(here, "one", request.param, peer="two", kernel_options=KERNEL_OPTIONS)
    cloud = Cloud(hosts, stays, witness, guest, here, there)
    yield cloud
    cloud.guest.destroy()
    cloud.guest.undefine()
    for host in hosts:
        host.run("port", "delete", "one")


def boot(host: Stand, name: str, mode: str, *, peer: str, kernel_options: str = "") -> Guest:
    host.create_port(name, mode)
    guest = host.guest(
        name,
        [name],
        ip=f"{ADDRESSES[name]}/24",
        peer=ADDRESSES[peer],
        interval_ms=INTERVAL_MS,
        kernel_options=kernel_options,
    )
    guest.start()
    return guest


@pytest.fixture
def cloud(booted: Cloud) -> Cloud:
    """Return it when the pings flow."""
    for guest in (booted.guest, booted.stays):
        guest.wait_report(lambda r: r.answered > 0, BOOT_TIMEOUT_S)
        wait_answers(guest)
    return booted


def start_keeper(guest: Guest) -> None:
    """Returns when it listens."""
    listens = f"grep -q ':{datagrams.PORT:04X} ' /proc/net/udp"
    guest.background(f"keeper {datagrams.PORT} </dev/null >/tmp/kept 2>&1", listens)


def read_keeper(guest: Guest) -> dict[str, int]:
    """End the keeper and return what it says."""
    guest.background("killall -USR1 keeper", "[ -s /tmp/kept ]")
    found: dict[str, int] = json.loads(guest.shell("cat /tmp/kept; killall keeper"))
    return found


def flooded(cloud: Cloud, mac: bytes) -> list[bytes]:
    """Return frames to the guest that were not for the witness and reached it all the same."""
    cloud.witness.heard()
    wait_answers(cloud.stays)
    return [frame for frame in cloud.witness.heard() if frame[:6] == mac]


def announced(frame: bytes, mac: bytes) -> bool:
    is_rarp = frame[12:14] == RARP and frame[6:12] == mac
    return is_rarp or announces(frame, ADDRESSES["one"])


def running(host: Stand, guest: Guest) -> bool:
    """Tell whether a host runs a guest of this name."""
    for domain in host.libvirt.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        if domain.name() == guest.name:
            return bool(domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING)
    return False


@pytest.mark.parametrize("way", ["there", "back"])
def test_guest_moves_and_notices_nothing(cloud: Cloud, way: str) -> None:
    mac = cloud.mac()
    before = cloud.guest.wait_report(fresh=True)
    watch = Watch(cloud.stays)
    start_keeper(cloud.guest)
    cloud.witness.heard()
    with cloud.witness.sending(mac, ADDRESSES["one"]):
        cloud.arrive(cloud.begin())

    assert wait_answers(cloud.guest).boot_id == before.boot_id
    wait_answers(cloud.stays)
    assert watch.look().longest_silence_ms < SILENCE_LIMIT_MS
    assert watch.problems == []
    assert cloud.sessions(cloud.there) == []
    assert cloud.sessions(cloud.here) == ["running"]

    kept = read_keeper(cloud.guest)
    assert kept["bad"] == 0
    assert kept["kept"] > KEPT_MIN

    heard = cloud.witness.heard()
    assert [frame for frame in heard if announced(frame, mac)]
    wait_until(lambda: not flooded(cloud, mac), "the switch to know where the guest is")


@pytest.mark.parametrize("victim", ["source", "destination"])
def test_daemon_killed_while_the_guest_moves(cloud: Cloud, victim: str) -> None:
    mac = cloud.mac()
    before = cloud.guest.wait_report(fresh=True)
    start_keeper(cloud.guest)
    with cloud.witness.sending(mac, ADDRESSES["one"]):
        migration = cloud.begin()
        wait_until(migration.under_way, "the first pages to be sent")
        (cloud.here if victim == "source" else cloud.there).kill([])
        cloud.arrive(migration)

    assert [running(host, cloud.guest) for host in (cloud.here, cloud.there)] == [True, False]
    assert wait_answers(cloud.guest).boot_id == before.boot_id
    wait_answers(cloud.stays)
    assert cloud.sessions(cloud.there) == []
    assert cloud.sessions(cloud.here) == ["running"]
    assert read_keeper(cloud.guest)["bad"] == 0
