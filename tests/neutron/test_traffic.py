# SPDX-License-Identifier: Apache-2.0
"""Frames pass inside a network, over whatever joins its hosts, and never between networks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tests.functional.waiting import wait_until
from tests.neutron.cloud import Cloud
from tests.neutron.guest import Guest, carries, talk
from tests.neutron.host import TAP, TAP_NET, TRUNK_NET, Host
from tests.neutron.wiretap import Wiretap, wiretap

VLAN, OTHER_VLAN = 101, 102
OUTSIDE = "02:00:00:00:00:01"
"""The MAC of whoever is at the far end of a physical network."""


def hear(guest: Guest, expected: set[bytes]) -> set[bytes]:
    """Wait until *guest* has got all that is expected; return the payloads of all it got."""
    got: set[bytes] = set()

    def complete() -> bool:
        got.update(frame[Raw].load for frame in guest.received() if Raw in frame)
        return expected <= got

    wait_until(complete, f"{len(expected)} broadcasts at {guest.host.name} {guest.mac}")
    return got


def broadcast_all(networks: Sequence[Sequence[Guest]]) -> None:
    """Let every guest broadcast, and fail unless exactly its own network hears it."""
    sent = {guest: guest.datagram() for guests in networks for guest in guests}
    for guest, frame in sent.items():
        guest.send(frame)
    for guests in networks:
        for guest in guests:
            heard = hear(guest, {sent[other][Raw].load for other in guests if other is not guest})
            strangers = {frame[Raw].load for other, frame in sent.items() if other not in guests}
            assert not heard & strangers, f"{guest.host.name} {guest.mac} hears other networks"


def test_networks_of_all_types_are_apart(cloud: Cloud) -> None:
    one, other = cloud.stand.hosts
    across = [
        cloud.network("flat", TRUNK_NET),
        cloud.network("vlan", TRUNK_NET, VLAN),
        cloud.network("vlan", TRUNK_NET, OTHER_VLAN),
        cloud.network("vxlan"),
        cloud.network("vxlan"),
    ]
    networks = [[cloud.guest(network, host) for host in (one, other)] for network in across]
    local = cloud.network("local")
    # A local network is as many as there are hosts.
    networks += [[cloud.guest(local, host) for _ in range(2)] for host in (one, other)]
    for guests in networks:
        talk(guests)
    # Twice: what the first round leaked late would be heard in the second.
    broadcast_all(networks)
    broadcast_all(networks)


@pytest.mark.parametrize("vlan", [None, VLAN])
def test_trunk_carries_the_right_tags(cloud: Cloud, vlan: int | None) -> None:
    stand = cloud.stand
    host = stand.hosts[0]
    kind = "flat" if vlan is None else "vlan"
    guest = cloud.guest(cloud.network(kind, TRUNK_NET, vlan), host)
    with wiretap(stand.wires.fabric, host.name) as trunk:
        check_tags(trunk, guest, vlan)


@pytest.mark.parametrize("vlan", [None, VLAN])
def test_tap_carries_the_right_tags(cloud: Cloud, vlan: int | None) -> None:
    host = cloud.stand.hosts[0]
    kind = "flat" if vlan is None else "vlan"
    guest = cloud.guest(cloud.network(kind, TAP_NET, vlan), host)
    host.ns.ip("link", "set", TAP, "up")
    with wiretap(host.ns, TAP) as tap:
        check_tags(tap, guest, vlan)


def check_tags(far_end: Wiretap, guest: Guest, vlan: int | None) -> None:
    """Fail unless *guest* sends to *far_end* under *vlan*, and hears that VLAN only."""
    frame = guest.datagram()

    def sent() -> Packet | None:
        guest.send(frame)
        return next(filter(carries(frame), far_end.all()), None)

    seen = wait_until(sent, f"the guest's frame on {far_end.interface}")
    assert tag(seen) == vlan
    assert seen.src == guest.mac

    wrong = [answer(guest, b"wrong", v) for v in (None, VLAN, OTHER_VLAN) if v != vlan]
    for data in wrong:
        far_end.send(data)
    right = answer(guest, b"right", vlan)
    far_end.send(right)
    heard = []
    got = guest.wait(lambda f: heard.append(f) or carries(right)(f), "frame of its VLAN")
    assert tag(got) is None, "guests see no tags"
    assert not [f for f in heard for data in wrong if carries(data)(f)]


def tag(frame: Packet) -> int | None:
    return frame[Dot1Q].vlan if Dot1Q in frame else None


def answer(guest: Guest, text: bytes, vlan: int | None) -> Packet:
    """Return a frame to *guest* from outside."""
    head = Ether(src=OUTSIDE, dst=guest.mac)
    if vlan is not None:
        head /= Dot1Q(vlan=vlan)
    return head / IP(src="198.18.255.1", dst=guest.ip) / UDP(dport=9) / Raw(text)


def test_vxlan_carries_frames_between_hosts(cloud: Cloud) -> None:
    network = cloud.network("vxlan", id=1234)
    one, other = (cloud.guest(network, host) for host in cloud.stand.hosts)
    talk([one, other])
    with wiretap(cloud.stand.wires.controller, one.host.name) as underlay:
        frame = one.datagram(other.mac)
        one.send(frame)
        seen = underlay.wait(lambda f: VXLAN in f and carries(frame)(f), "tunnelled frame")
    assert (seen[IP].src, seen[IP].dst) == (one.host.address, other.host.address)
    assert seen[UDP].dport == 4789
    assert seen[VXLAN].vni == 1234
    other.wait(carries(frame), "frame out of the tunnel")


def test_vxlan_carries_full_frames(cloud: Cloud) -> None:
    """A guest may fill the MTU that Neutron tells it."""
    network = cloud.network("vxlan")
    one, other = (cloud.guest(network, host) for host in cloud.stand.hosts)
    talk([one, other])
    frame = one.datagram(other.mac)
    frame = frame / Raw(b"x" * (network["mtu"] + 14 - len(frame)))
    one.send(frame)
    assert len(other.wait(carries(frame), "full frame")) == network["mtu"] + 14


def remotes(host: Host, network_id: str) -> set[str]:
    """Return the hosts that the tunnel of a network leads to."""
    for status in host.daemon.client.network_list().networks:
        if status.network.name == network_id:
            return {r for u in status.network.uplinks if u.tunnel for r in u.tunnel.remotes}
    return set()


def test_tunnels_go_where_the_ports_are(cloud: Cloud) -> None:
    one, other = cloud.stand.hosts
    network = cloud.network("vxlan")
    first = cloud.guest(network, one)
    assert remotes(one, network["id"]) == set()
    second = cloud.guest(network, other)
    for host, peer in ((one, other), (other, one)):
        wait_until(
            lambda host=host, peer=peer: remotes(host, network["id"]) == {peer.address},
            f"a tunnel from {host.name}",
        )
    talk([first, second])
    second.delete()
    wait_until(lambda: not remotes(one, network["id"]), "the tunnel to go")
