# SPDX-License-Identifier: Apache-2.0
"""What a port lets through, as a guest meets it and an operator sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from tests.frontend.vhost_user import Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import frame, mac
from tests.functional.waiting import wait_until
from tests.functional.wire import hears, passes
from vhost_brick_plugin import model
from vhost_brick_plugin.model import AddressPair, PortSecurity, SecurityMode

GUEST, OTHER = 1, 2
ADDRESS = "192.0.2.1"
FILTERED = PortSecurity(
    mode=SecurityMode.FILTERED, allowed=(AddressPair(mac=mac(GUEST), ip=ADDRESS),)
)

MakeGuest = Callable[..., Frontend]


@pytest.fixture
def make_guest(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> MakeGuest:
    """Return a function that makes a port and connects a guest to it."""

    def make(number: int, network: str = "n", security: PortSecurity | None = None) -> Frontend:
        id = f"p{number}"
        daemon.client.port_ensure(
            id=id,
            network=network,
            mode="client",
            mac=mac(number),
            security=security,
            create_network=True,
        )
        vm = make_frontend(daemon.socket_path(id), listen=True)
        vm.connect()
        return vm

    return make


def secure(daemon: Daemon, number: int, security: PortSecurity) -> None:
    daemon.client.port_ensure(id=f"p{number}", network="n", security=security)


def drops(daemon: Daemon, number: int) -> dict[str, int]:
    return dict(daemon.client.port_show(id=f"p{number}").counters.drops)


def sent_by(number: int, address: str) -> bytes:
    packet = Ether(src=mac(number), dst="ff:ff:ff:ff:ff:ff") / IP(src=address, dst="192.0.2.9")
    return bytes(packet / UDP(dport=9) / b"hello")


def claimed_by(number: int, address: str) -> bytes:
    arp = ARP(op="is-at", hwsrc=mac(number), psrc=address, pdst=address)
    return bytes(Ether(src=mac(number), dst="ff:ff:ff:ff:ff:ff") / arp)


FORGED = {
    "spoofed_mac": frame(None, OTHER, b"forged"),
    "spoofed_ip": sent_by(GUEST, "192.0.2.66"),
    "spoofed_arp": claimed_by(GUEST, "192.0.2.66"),
}


def test_what_is_forged_is_dropped_and_counted_at_the_port(
    daemon: Daemon, make_guest: MakeGuest
) -> None:
    vm, other = make_guest(GUEST, security=FILTERED), make_guest(OTHER)
    passes(other, vm, b"up", src=OTHER)
    for reason, forged in FORGED.items():
        vm.send(forged)
        wait_until(lambda reason=reason: drops(daemon, GUEST).get(reason) == 1, reason)
    honest = sent_by(GUEST, ADDRESS)
    vm.send(honest)
    # In order: had a forged one passed, it would have come before.
    assert other.receive() == honest
    assert drops(daemon, GUEST) == dict.fromkeys(FORGED, 1)


def test_security_changes_under_a_running_guest(daemon: Daemon, make_guest: MakeGuest) -> None:
    vm, other = make_guest(GUEST), make_guest(OTHER)
    passes(vm, other, b"open", src=OTHER)
    sessions = daemon.client.port_show(id="p1").sessions

    secure(daemon, GUEST, FILTERED)
    vm.send(frame(None, OTHER, b"filtered"))
    wait_until(lambda: drops(daemon, GUEST).get("spoofed_mac"), "a drop")
    passes(vm, other, b"own", src=GUEST)

    secure(daemon, GUEST, model.CLOSED)
    before = drops(daemon, GUEST).get("port_closed", 0)
    vm.send(frame(None, GUEST, b"closed"))
    wait_until(lambda: drops(daemon, GUEST).get("port_closed", 0) > before, "a drop")
    other.send(frame(GUEST, OTHER, b"to the closed"))
    wait_until(lambda: drops(daemon, GUEST)["port_closed"] > before + 1, "another drop")

    secure(daemon, GUEST, model.OPEN)
    passes(vm, other, b"open again", src=OTHER)
    assert daemon.client.port_show(id="p1").sessions == sessions


def test_a_guarded_network_is_closed_until_somebody_opens_it(
    daemon: Daemon, make_guest: MakeGuest
) -> None:
    daemon.client.network_ensure(network="n", guarded=True)
    vm, other = make_guest(GUEST), make_guest(OTHER, security=model.OPEN)
    wanted = frame(None, GUEST, b"too early")
    vm.send(wanted)
    wait_until(lambda: drops(daemon, GUEST).get("port_closed"), "a drop")
    assert not hears(other, wanted)
    secure(daemon, GUEST, FILTERED)
    passes(vm, other, b"now", src=GUEST)


def test_a_closed_port_is_closed_after_a_kill(daemon: Daemon, make_guest: MakeGuest) -> None:
    vm, other = make_guest(GUEST, security=FILTERED), make_guest(OTHER)
    passes(vm, other, b"before", src=GUEST)
    daemon.restart()
    for guest in (vm, other):
        guest.wait_disconnect()
        guest.connect()
    vm.send(frame(None, OTHER, b"forged"))
    wait_until(lambda: drops(daemon, GUEST).get("spoofed_mac"), "a drop")
    passes(vm, other, b"after", src=GUEST)
