# SPDX-License-Identifier: Apache-2.0
"""Guests send from their own addresses only, and Neutron says which these are."""

from __future__ import annotations

import collections
import json
import subprocess
from collections.abc import Callable

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_RA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.functional.waiting import wait_until
from tests.neutron.cloud import Cloud
from tests.neutron.guest import BROADCAST, Guest, carries
from tests.neutron.server import BIN

STRANGER = "02:00:00:00:00:99"
STRANGER_IP, STRANGER_IP6 = "198.18.99.99", "2001:db8::99:99"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def forged_arp(guest: Guest) -> Packet:
    claim = ARP(op="is-at", hwsrc=guest.mac, psrc=STRANGER_IP, pdst=STRANGER_IP)
    return Ether(src=guest.mac, dst=BROADCAST) / claim


def forged_nd(guest: Guest) -> Packet:
    head = Ether(src=guest.mac, dst=ALL_NODES_MAC) / IPv6(src=guest.ip6, dst=ALL_NODES, hlim=255)
    return head / ICMPv6ND_NA(tgt=STRANGER_IP6, R=0, S=0) / ICMPv6NDOptDstLLAddr(lladdr=guest.mac)


def forged_ip6(guest: Guest) -> Packet:
    head = Ether(src=guest.mac, dst=ALL_NODES_MAC) / IPv6(src=STRANGER_IP6, dst=ALL_NODES)
    return head / UDP(dport=9) / Raw(b"forged")


def router(guest: Guest) -> Packet:
    head = Ether(src=guest.mac, dst=ALL_NODES_MAC) / IPv6(src=guest.ip6, dst=ALL_NODES, hlim=255)
    return head / ICMPv6ND_RA()


def dhcp_server(guest: Guest) -> Packet:
    head = Ether(src=guest.mac, dst=BROADCAST) / IP(src=guest.ip, dst="255.255.255.255")
    offer = BOOTP(op=2, yiaddr=STRANGER_IP) / DHCP(options=[("message-type", "offer"), "end"])
    return head / UDP(sport=67, dport=68) / offer


FORGERIES: dict[str, tuple[str, Callable[[Guest], Packet]]] = {
    "mac": ("spoofed_mac", lambda guest: guest.datagram(src=STRANGER)),
    "ip": ("spoofed_ip", lambda guest: guest.datagram(ip=STRANGER_IP)),
    "ip6": ("spoofed_ip", forged_ip6),
    "arp": ("spoofed_arp", forged_arp),
    "nd": ("spoofed_nd", forged_nd),
    "ra": ("rogue_ra", router),
    "dhcp": ("rogue_dhcp", dhcp_server),
}


def drops(guest: Guest, reason: str) -> int:
    """Return how many packets the guest's port dropped for *reason*."""
    counters = guest.host.daemon.client.port_show(id=guest.id).counters
    return counters.drops.get(reason, 0)


def shown_drops(guest: Guest) -> dict[str, int]:
    """Return what an operator sees of all that the guest's port dropped."""
    socket = ["--api-socket", str(guest.host.daemon.api_socket)]
    command = [str(BIN / "vhost-brick"), *socket, "port", "show", guest.id, "-f", "json"]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return dict(shown["drops"])


def passes(sender: Guest, receiver: Guest, frame: Packet) -> bool:
    """Tell whether *frame* arrives; an honest frame right behind it shows that it had time to."""
    sender.send(frame)
    honest = sender.datagram(receiver.mac)
    sender.send(honest)
    before: list[bytes] = []
    receiver.wait(lambda f: bool(carries(honest)(f) or before.append(bytes(f))), "honest frame")
    return bytes(frame) in before


@pytest.fixture
def pair(cloud: Cloud) -> tuple[Guest, Guest]:
    """Two guests on one network that reach each other."""
    network = cloud.network("local")
    one, other = (cloud.guest(network, cloud.stand.hosts[0]) for _ in range(2))
    one.reaches(other)
    return one, other


def test_forged_frames_are_dropped_and_counted(pair: tuple[Guest, Guest]) -> None:
    sender, receiver = pair
    for what, (_, forge) in FORGERIES.items():
        assert not passes(sender, receiver, forge(sender)), what
    assert shown_drops(sender) == collections.Counter(reason for reason, _ in FORGERIES.values())


def test_allowed_address_pairs_come_and_go(cloud: Cloud, pair: tuple[Guest, Guest]) -> None:
    sender, receiver = pair
    moved = sender.datagram(ip=STRANGER_IP)
    virtual = sender.datagram(ip="198.18.77.7", src="00:00:5e:00:01:07")
    outside = sender.datagram(ip="198.18.78.1")
    allow = [
        {"ip_address": STRANGER_IP},
        {"ip_address": "198.18.77.0/24", "mac_address": "00:00:5e:00:01:07"},
    ]
    for pairs, expected in ((allow, True), ([], False)):
        cloud.api.update("port", sender.id, allowed_address_pairs=pairs)
        for frame in (moved, virtual):
            wait_until(
                lambda frame=frame, expected=expected: passes(sender, receiver, frame) == expected,
                f"the pairs {pairs} to be applied",
            )
        assert not passes(sender, receiver, outside), "no pair covers it"


def test_port_security_can_be_turned_off_and_on(cloud: Cloud, pair: tuple[Guest, Guest]) -> None:
    sender, receiver = pair
    frames = [forge(sender) for _, forge in FORGERIES.values()]
    cloud.api.update("port", sender.id, port_security_enabled=False, security_groups=[])
    for frame in frames:
        wait_until(lambda frame=frame: passes(sender, receiver, frame), frame.summary())
    cloud.api.update("port", sender.id, port_security_enabled=True)
    for frame in frames:
        wait_until(lambda frame=frame: not passes(sender, receiver, frame), frame.summary())


def test_port_that_is_down_passes_nothing(cloud: Cloud, pair: tuple[Guest, Guest]) -> None:
    one, other = pair
    cloud.api.update("port", one.id, admin_state_up=False)
    cloud.wait_status(one.id, "DOWN")

    def closed() -> bool:
        one.send(one.datagram(other.mac))
        other.send(other.datagram(one.mac))
        return drops(one, "port_closed") > 0

    wait_until(closed, "the port to be closed")
    one.received(), other.received()
    before = drops(one, "port_closed")
    one.send(one.datagram(other.mac))
    other.send(other.datagram(one.mac))
    wait_until(lambda: drops(one, "port_closed") >= before + 2, "both frames to be dropped")
    assert not one.received()
    assert not other.received()

    cloud.api.update("port", one.id, admin_state_up=True)
    cloud.wait_status(one.id, "ACTIVE")
    one.reaches(other)
    other.reaches(one)
