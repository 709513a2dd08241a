# SPDX-License-Identifier: Apache-2.0
"""Checksums and segments that a guest leaves to be done, towards those who can and cannot."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.frontend.protocol import Feature
from tests.frontend.vhost_user import PLAIN, WANTED, Frame, Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import ETHERTYPE, NETWORK, ensure_port, frame, mac, pass_frame
from tests.functional.netns import NetNs
from tests.functional.pair import make_pair
from tests.functional.tcp import CHECKSUMS, EVERYTHING, Segment, payload
from tests.functional.waiting import TIMEOUT
from tests.functional.wire import ETH_P_ALL
from vhost_brick_plugin.model import Uplink, UplinkKind

TAP = "vbo0"

VERSIONS = pytest.mark.parametrize("version", [4, 6])

Connect = Callable[..., Frontend]


@pytest.fixture
def connect(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> Connect:
    """Return a function that connects the test's VM of a number, with these features."""

    def connect(number: int, features: int) -> Frontend:
        vm = make_frontend(
            ensure_port(daemon, f"vm-{number}", "server", number), features=features
        )
        vm.connect()
        return vm

    return connect


def _meet(one: Frontend, other: Frontend, numbers: tuple[int, int] = (0, 1)) -> None:
    """Let the switch learn where both are."""
    a, b = numbers
    pass_frame(one, other, frame(b, a, b"there"))
    pass_frame(other, one, frame(a, b, b"and back"))


def _segment(version: int, size: int = 1440, length: int = 63000, udp: bool = False) -> Segment:
    return Segment(version, payload(length), size, sender=0, receiver=1, udp=udp)


def _next(vm: Frontend) -> Frame:
    """Return the next frame that is none of :func:`_meet`."""
    while (got := vm.receive())[12:14] == ETHERTYPE:
        pass
    return got


def _arrives_finished(vm: Frontend, segment: Segment) -> None:
    for wanted in segment.finished():
        got = _next(vm)
        assert got.header == PLAIN._replace(num_buffers=1)
        assert got == wanted


def _arrives_whole(vm: Frontend, segment: Segment) -> None:
    got = _next(vm)
    assert got.header._replace(num_buffers=0) == segment.header
    assert got == segment.frame


@VERSIONS
def test_a_segment_of_64_KiB_arrives_as_one(connect: Connect, version: int) -> None:
    one, other = connect(0, EVERYTHING), connect(1, EVERYTHING)
    assert one.acked == EVERYTHING
    _meet(one, other)
    segment = _segment(version, length=65535 - 40)
    # The length of headers is nobody's but ours.
    one.send(segment.frame, header=segment.header._replace(hdr_len=1))
    _arrives_whole(other, segment)


@VERSIONS
@pytest.mark.parametrize(
    "features",
    [WANTED, CHECKSUMS, CHECKSUMS | Feature.GUEST_TSO4, CHECKSUMS | Feature.GUEST_TSO6],
    ids=["nothing", "checksums", "TSO4", "TSO6"],
)
def test_who_cannot_gets_segments(connect: Connect, version: int, features: int) -> None:
    one, other = connect(0, EVERYTHING), connect(1, features)
    _meet(one, other)
    segment = _segment(version)
    one.send(segment.frame, header=segment.header)
    knows = Feature.GUEST_TSO4 if version == 4 else Feature.GUEST_TSO6
    if features & knows:
        _arrives_whole(other, segment)
    else:
        _arrives_finished(other, segment)


def test_segmentation_is_agreed_on_with_checksums_only(connect: Connect) -> None:
    """A driver that takes segments but no checksums wants what the standard does not have."""
    one, other = connect(0, EVERYTHING), connect(1, EVERYTHING & ~Feature.GUEST_CSUM)
    _meet(one, other)
    segment = _segment(4)
    one.send(segment.frame, header=segment.header)
    _arrives_finished(other, segment)


@VERSIONS
@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_checksums(connect: Connect, version: int, udp: bool) -> None:
    one, able, other = connect(0, CHECKSUMS), connect(1, CHECKSUMS), connect(2, WANTED)
    _meet(one, able)
    _meet(one, other, (0, 2))
    for length in (1, 2, 1001, 1440):
        segment = Segment(version, payload(length), 0, 0, 1, udp)
        one.send(segment.frame, header=segment.header)
        _arrives_whole(able, segment)
        segment = Segment(version, payload(length), 0, 0, 2, udp)
        one.send(segment.frame, header=segment.header)
        _arrives_finished(other, segment)


def test_one_flood_for_those_who_can_and_those_who_cannot(connect: Connect) -> None:
    """One packet, shared: whoever has it finished must not finish it for the others."""
    one = connect(0, EVERYTHING)
    features = [WANTED, EVERYTHING, CHECKSUMS, WANTED, EVERYTHING]
    vms = [connect(10 + i, f) for i, f in enumerate(features)]
    for i, vm in enumerate(vms):
        _meet(one, vm, (0, 10 + i))
    for segment in (_segment(4), _segment(6), _segment(4, 0, 1440)):
        one.send(segment.frame, header=segment.header)  # nobody has its destination
        for vm, able in zip(vms, features, strict=True):
            if able == EVERYTHING or (able == CHECKSUMS and segment.size == 0):
                _arrives_whole(vm, segment)
            else:
                _arrives_finished(vm, segment)


@pytest.mark.parametrize(("size", "passes"), [(1440, True), (1464, True), (1465, False)])
@pytest.mark.parametrize("features", [WANTED, EVERYTHING], ids=["finished", "whole"])
def test_a_ports_MTU_holds_for_segments(
    daemon: Daemon, connect: Connect, features: int, size: int, passes: bool
) -> None:
    """1500 bytes, and four for a tag that may be inside."""
    one, other = connect(0, EVERYTHING), connect(1, features)
    _meet(one, other)
    segment = _segment(4, size, 5000)
    one.send(segment.frame, header=segment.header)
    if passes and features == WANTED:
        _arrives_finished(other, segment)
    elif passes:
        _arrives_whole(other, segment)
    last = _segment(6, 0, 1000)
    one.send(last.frame, header=last.header)
    (_arrives_finished if features == WANTED else _arrives_whole)(other, last)
    drops = daemon.client.port_show(id="vm-1").counters.drops
    assert drops == ({} if passes else {"too_big": 1})


def test_counters_add_up(daemon: Daemon, connect: Connect) -> None:
    one, other = connect(0, EVERYTHING), connect(1, WANTED)
    _meet(one, other)
    before = daemon.client.port_show(id="vm-1").counters
    segment = _segment(4)
    one.send(segment.frame, header=segment.header)
    frames = segment.finished()
    _arrives_finished(other, segment)
    after = daemon.client.port_show(id="vm-1").counters
    assert after.to_peer_packets - before.to_peer_packets == len(frames)
    assert after.made_packets - before.made_packets == len(frames) - 1
    assert after.to_peer_bytes - before.to_peer_bytes == sum(map(len, frames))


def test_a_standby_goes_on_with_what_was_agreed_on(
    make_daemon: Callable[..., Daemon], make_frontend: Callable[..., Frontend]
) -> None:
    pair = make_pair(make_daemon, "dpdk")
    vms = []
    for number, features in enumerate((EVERYTHING, EVERYTHING, WANTED)):
        path = ensure_port(pair.serving, f"vm-{number}", "server", number)
        vms.append(make_frontend(path, features=features))
        vms[-1].connect()
    pair.wait_in_sync()
    pair.hand_over()
    for number, vm in enumerate(vms[1:], 1):
        assert vm.connected
        _meet(vms[0], vm, (0, number))
        segment = Segment(4, payload(60000), 1440, 0, number)
        vms[0].send(segment.frame, header=segment.header)
        if number == 1:
            _arrives_whole(vm, segment)
        else:
            _arrives_finished(vm, segment)


# -- towards the kernel --------------------------------------------------------


@pytest.fixture
def wire(
    make_daemon: Callable[..., Daemon], make_frontend: Callable[..., Frontend]
) -> Iterator[tuple[Frontend, socket.socket]]:
    """A VM, and what the kernel gets from the tap of its network."""
    with NetNs(f"vbo-{os.getpid()}") as netns:
        daemon = make_daemon(wrap=netns.exec)
        uplink = Uplink(kind=UplinkKind.TAP, name=TAP)
        daemon.client.network_ensure(network=NETWORK, uplinks=(uplink,))
        netns.ip("link", "set", TAP, "up")
        vm = make_frontend(ensure_port(daemon, "vm", "server", 0), features=EVERYTHING)
        vm.connect()
        with netns.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.settimeout(TIMEOUT)
            wire.bind((TAP, ETH_P_ALL))
            yield vm, wire


def _from_guest(wire: socket.socket) -> bytes:
    """Return the next frame that the test's VM sent."""
    while True:
        data = wire.recv(70000)
        if data[6:12] == bytes.fromhex(mac(0).replace(":", "")):
            return data


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
@pytest.mark.parametrize("segment", [_segment(4), _segment(6), _segment(6, 0, 1001, udp=True)])
def test_the_kernel_gets_finished_frames(
    wire: tuple[Frontend, socket.socket], segment: Segment
) -> None:
    vm, tap = wire
    vm.send(segment.frame, header=segment.header)
    for wanted in segment.finished():
        assert _from_guest(tap) == wanted
