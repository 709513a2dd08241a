# SPDX-License-Identifier: Apache-2.0
"""The host reaches its VMs through a tap."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from tests.frontend.vhost_user import Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import ETHERTYPE, NETWORK, ensure_port, frame, mac
from tests.functional.netns import NetNs
from tests.functional.pair import make_pair
from tests.functional.waiting import TIMEOUT, wait_until
from tests.functional.wire import ETH_P_ALL
from vhost_brick_plugin.model import Uplink, UplinkKind

TAP = "vbt0"
HOST, GUEST = "192.0.2.1", "192.0.2.2"
ECHO = 7
ETH_P_ARP, ETH_P_RARP = 0x0806, 0x8035

GLANCE = 0.1
"""Seconds to look for a packet before looking around."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")


@pytest.fixture
def netns() -> Iterator[NetNs]:
    with NetNs(f"vbt-{os.getpid()}") as ns:
        yield ns


@pytest.fixture
def tap_daemon(make_daemon: Callable[..., Daemon], netns: NetNs) -> Daemon:
    """A daemon inside the namespace, with a tap on the network."""
    daemon = make_daemon(wrap=netns.exec)
    uplink = Uplink(kind=UplinkKind.TAP, name=TAP)
    daemon.client.network_ensure(network=NETWORK, uplinks=(uplink,))
    netns.ip("addr", "add", f"{HOST}/24", "dev", TAP)
    netns.ip("link", "set", TAP, "up")
    return daemon


def _answer_arp(request: Ether) -> Ether:
    arp = request[ARP]
    reply = ARP(op="is-at", hwsrc=mac(0), psrc=arp.pdst, hwdst=arp.hwsrc, pdst=arp.psrc)
    return Ether(src=mac(0), dst=request.src) / reply


def _echo(request: Ether) -> Ether:
    ip, udp = request[IP], request[UDP]
    headers = IP(src=ip.dst, dst=ip.src) / UDP(sport=udp.dport, dport=udp.sport)
    return Ether(src=mac(0), dst=request.src) / headers / bytes(udp.payload)


def _answer(data: bytes) -> bytes | None:
    """Return what a guest's network stack would answer."""
    packet = Ether(data)
    if ARP in packet and packet[ARP].op == 1 and packet[ARP].pdst == GUEST:
        return bytes(_answer_arp(packet))
    if UDP in packet and packet[UDP].dport == ECHO and packet[IP].dst == GUEST:
        return bytes(_echo(packet))
    return None


@contextlib.contextmanager
def _guest(vm: Frontend) -> Iterator[None]:
    """Answer behind *vm* while the block runs."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                if answer := _answer(vm.receive(GLANCE)):
                    vm.send(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _ask(netns: NetNs, vm: Frontend, payload: bytes) -> None:
    """Send *payload* from the host until the guest's echo of it comes back."""
    with _guest(vm), netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.settimeout(GLANCE)

        def echoed() -> bool:
            host.sendto(payload, (GUEST, ECHO))
            try:
                return host.recv(65536) == payload
            except TimeoutError:
                return False

        wait_until(echoed, "the guest's echo")


@pytest.mark.parametrize("mode", ["client", "server"])
def test_host_and_guest_talk(
    tap_daemon: Daemon, netns: NetNs, make_frontend: Callable[..., Frontend], mode: str
) -> None:
    path = ensure_port(tap_daemon, "vm", mode, 0)
    vm = make_frontend(path, listen=mode == "client")
    vm.connect()
    for size in (1, 100, 1472):
        _ask(netns, vm, bytes(i % 251 for i in range(size)))


def test_tap_works_again_after_a_kill(
    tap_daemon: Daemon, netns: NetNs, make_frontend: Callable[..., Frontend]
) -> None:
    vm = make_frontend(ensure_port(tap_daemon, "vm", "client", 0), listen=True)
    vm.connect()
    _ask(netns, vm, b"before")
    tap_daemon.restart()
    vm.wait_disconnect()
    vm.connect()
    assert HOST in netns.ip("addr", "show", "dev", TAP)
    _ask(netns, vm, b"after")


def test_a_standby_takes_the_tap_over(
    make_daemon: Callable[..., Daemon], netns: NetNs, make_frontend: Callable[..., Frontend]
) -> None:
    pair = make_pair(make_daemon, "dpdk", wrap=netns.exec)
    uplink = Uplink(kind=UplinkKind.TAP, name=TAP)
    pair.serving.client.network_ensure(network=NETWORK, uplinks=(uplink,))
    netns.ip("addr", "add", f"{HOST}/24", "dev", TAP)
    vm = make_frontend(ensure_port(pair.serving, "vm", "client", 0), listen=True)
    vm.connect()
    _ask(netns, vm, b"before")
    for end in (pair.kill, pair.hand_over):
        pair.wait_in_sync()
        end()
        (network,) = pair.serving.client.network_list().networks
        assert network.fault is None
        _ask(netns, vm, b"after")
        pair.start_standby()
    assert vm.connected


def _next(wire: socket.socket, kind: int) -> Ether:
    """Return the next frame of this type from the guests' side."""
    while True:
        data, where = wire.recvfrom(65536)
        if where[2] != socket.PACKET_OUTGOING and (packet := Ether(data)).type == kind:
            return packet


@pytest.mark.parametrize("mode", ["client", "server"])
def test_the_wire_hears_at_once_who_is_back_after_a_kill(
    tap_daemon: Daemon, netns: NetNs, make_frontend: Callable[..., Frontend], mode: str
) -> None:
    path = ensure_port(tap_daemon, "vm", mode, 0)
    vm = make_frontend(path, listen=mode == "client")
    vm.connect()
    with netns.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.settimeout(TIMEOUT)
        wire.bind((TAP, ETH_P_ALL))
        # One address that speaks no ARP, and one that does.
        vm.send(frame(None, 1, b"no ARP"))
        _next(wire, int.from_bytes(ETHERTYPE))
        arp = ARP(op="who-has", hwsrc=mac(0), psrc=GUEST, pdst="192.0.2.9")
        vm.send(bytes(Ether(src=mac(0), dst="ff:ff:ff:ff:ff:ff") / arp).ljust(60, b"\0"))
        _next(wire, ETH_P_ARP)

        tap_daemon.restart()
        vm.wait_disconnect()
        vm.connect()
        reverse = [_next(wire, ETH_P_RARP) for _ in range(2)]
        assert {packet.src for packet in reverse} == {mac(0), mac(1)}
        for packet in reverse:
            said = ARP(bytes(packet.payload))
            assert packet.dst == "ff:ff:ff:ff:ff:ff"
            assert (said.op, said.hwsrc, said.hwdst) == (3, packet.src, packet.src)
        told = _next(wire, ETH_P_ARP)
        assert (told.src, told[ARP].psrc, told[ARP].pdst) == (mac(0), GUEST, GUEST)


def test_removed_network_takes_its_tap_along(tap_daemon: Daemon, netns: NetNs) -> None:
    tap_daemon.client.network_remove(network=NETWORK)
    wait_until(lambda: TAP not in netns.ip("link", "show"), "the tap to be gone")
