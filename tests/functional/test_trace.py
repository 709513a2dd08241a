# SPDX-License-Identifier: Apache-2.0
"""Where packets went, as a trace tells it, against what is known of where they went."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import VUser
from tests.functional.daemon import Daemon
from tests.functional.exchange import NETWORK, ensure_port, frame, mac, wait_traffic
from tests.functional.netns import NetNs
from tests.functional.pair import make_pair
from tests.functional.tcp import EVERYTHING, Segment, payload
from tests.functional.test_security import ADDRESS, FILTERED, FORGED, GUEST, OTHER, sent_by
from tests.functional.tracing import (
    DELIVERED,
    PASSED,
    Command,
    Trace,
    Way,
    from_port,
    to_port,
    way,
)
from tests.functional.waiting import TIMEOUT, wait_until
from tests.functional.wire import Interface, hears, passes
from tools import reasons
from vhost_brick_plugin import errors, model
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import bpf
from vhost_brick_plugin.model import Tunnel, Uplink, UplinkKind
from vhost_brick_plugin.probes import TracedPacket

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")

MEANINGS = {
    name: meaning
    for header in ("drop.h", "decision.h")
    for name, meaning in reasons.entries(header)
}
NOBODY = 99
"""Whose address no guest has."""

Plug = Callable[..., Frontend]


@pytest.fixture
def plug(make_frontend: Callable[..., Frontend]) -> Plug:
    """Return a function that makes the port ``pN`` and connects a guest to it."""

    def make(daemon: Daemon, number: int, **how: Any) -> Frontend:
        port = {"network": NETWORK, "create_network": True, "mode": "client"} | how
        frontend = {name: port.pop(name) for name in ("ring_size", "features") if name in port}
        daemon.client.port_ensure(id=f"p{number}", mac=mac(number), **port)
        vm = make_frontend(daemon.socket_path(f"p{number}"), listen=True, **frontend)
        vm.connect()
        return vm

    return make


@pytest.fixture
def netns() -> Iterator[NetNs]:
    with NetNs(f"vbx-{os.getpid()}") as ns:
        yield ns


def from_p1(decision: str) -> Way:
    return from_port("p1", NETWORK, decision)


def follow(daemon: Daemon, vm: Frontend, sent: bytes) -> TracedPacket:
    """Send a frame from the guest of ``p1``, and return what a trace tells of it."""
    wait_until(vm.tx_done, "what was sent before to be taken")
    trace = Trace.of(daemon, "p1")
    vm.send(sent)
    packet = trace.next()
    assert (packet.length, packet.head) == (len(sent), sent[:96].hex())
    for visit in packet.visits:
        assert visit.meaning == MEANINGS.get(visit.drop or visit.decision, "")
    return packet


def dropped(daemon: Daemon, brick: str, reason: str) -> int:
    stats = {b.brick: b.counters for b in daemon.client.stats().bricks}
    return stats[brick].drops.get(reason, 0)


# -- decisions ---------------------------------------------------------------


def test_each_decision_of_a_switch(daemon: Daemon, plug: Plug) -> None:
    vms = {n: plug(daemon, n) for n in (1, 2, 3)}
    for n in (2, 3):
        passes(vms[n], vms[1], b"here", src=n)
    for n in (2, 3):
        passes(vms[1], vms[n], b"here", src=1)
    everybody = [to_port(2, "p2"), to_port(2, "p3")]
    for decision, to in (("group", None), ("unknown", NOBODY), ("known", 3)):
        sent = frame(to, 1, decision.encode())
        packet = follow(daemon, vms[1], sent)
        told = way(packet)
        assert told[:2] == from_p1(decision)
        ends = [told[2:4], told[4:]] if decision != "known" else [told[2:]]
        expected = everybody if decision != "known" else everybody[1:]
        assert sorted(ends) == expected
        assert packet.worker == 0
        assert hears(vms[3], sent, TIMEOUT)


def test_two_sessions_of_a_port(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> None:
    """A packet meets the same brick twice, and each visit is told by itself."""
    path = ensure_port(daemon, "p1", "server", 1)
    one, other = make_frontend(path), make_frontend(path, ring_size=32)
    one.connect()
    other.connect()
    passes(one, other, b"up", src=1)
    other.receive_all()
    assert way(follow(daemon, one, frame(None, 1, b"x"))) == from_p1("group") + to_port(2, "p1")
    fill(one, other)
    told = way(follow(daemon, one, frame(None, 1, b"x")))
    assert told == from_p1("group") + to_port(2, "p1", "ring_full")


# -- drops -------------------------------------------------------------------


@pytest.mark.parametrize("reason", [*FORGED, "port_closed"])
def test_what_a_port_may_not_send(daemon: Daemon, plug: Plug, reason: str) -> None:
    closed = reason == "port_closed"
    vm = plug(daemon, GUEST, security=model.CLOSED if closed else FILTERED)
    sent = FORGED.get(reason, frame(None, GUEST, b"x"))
    for count in (1, 2):
        assert way(follow(daemon, vm, sent)) == [(0, "antispoof/p1", reason)]
        assert daemon.client.port_show(id="p1").counters.drops == {reason: count}


def test_what_a_port_may_send_passes(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, GUEST, security=FILTERED), plug(daemon, OTHER)
    passes(other, vm, b"up", src=OTHER)
    told = way(follow(daemon, vm, sent_by(GUEST, ADDRESS)))
    assert told == from_p1("group") + to_port(2, "p2")


@pytest.mark.parametrize(
    ("reason", "to", "src"),
    [
        # Learnt from this very frame.
        ("hairpin", mac(1), mac(1)),
        ("bad_source", mac(2), "01:00:5e:00:00:01"),
        ("reserved", "01:80:c2:00:00:0e", mac(1)),
    ],
)
def test_what_a_switch_drops(daemon: Daemon, plug: Plug, reason: str, to: str, src: str) -> None:
    vm = plug(daemon, 1)
    plug(daemon, 2)
    sent = bytes.fromhex((to + src).replace(":", "")) + b"\x88\xb5" + bytes(46)
    packet = follow(daemon, vm, sent)
    assert way(packet) == from_p1(reason)
    # It decided nothing, whatever it would have.
    assert packet.visits[1].decision == ""
    assert dropped(daemon, f"switch/{NETWORK}", reason) == 1


def test_nobody_else_is_there(daemon: Daemon, plug: Plug) -> None:
    vm = plug(daemon, 1)
    assert way(follow(daemon, vm, frame(None, 1, b"x"))) == from_p1("no_peer")
    assert dropped(daemon, f"switch/{NETWORK}", "no_peer") == 1


def fill(sender: Frontend, receiver: Frontend) -> None:
    """Send until the ring of a guest that does not read is full."""
    ring = receiver.pairs[0].rx
    for _ in range(ring.size):
        sender.send(frame(None, 1, b"to fill"))
    wait_until(lambda: ring.used_count() == ring.size, "a full ring")


def test_a_guest_that_does_not_read(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2, ring_size=32)
    passes(vm, other, b"up", src=1)
    fill(vm, other)
    wait_until(vm.tx_done, "all to be taken")
    before = daemon.client.port_show(id="p2").counters.drops.get("ring_full", 0)
    told = way(follow(daemon, vm, frame(None, 1, b"x")))
    assert told == from_p1("group") + to_port(2, "p2", "ring_full")
    assert daemon.client.port_show(id="p2").counters.drops == {"ring_full": before + 1}


def test_a_guest_whose_rings_are_off(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2)
    passes(other, vm, b"up", src=2)
    other.enable(0)
    told = way(follow(daemon, vm, frame(2, 1, b"x")))
    assert told == from_p1("known") + to_port(2, "p2", "no_ring")
    assert daemon.client.port_show(id="p2").counters.drops == {"no_ring": 1}


def test_a_guest_with_a_smaller_mtu(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2, mtu=1000)
    passes(other, vm, b"up", src=2)
    told = way(follow(daemon, vm, frame(2, 1, bytes(1200))))
    assert told == from_p1("known") + to_port(2, "p2", "too_big")
    assert daemon.client.port_show(id="p2").counters.drops == {"too_big": 1}


def test_a_segment_that_becomes_many(daemon: Daemon, plug: Plug) -> None:
    """Of which only some fit: what was delivered and what was dropped are the same packet's."""
    vm, other = plug(daemon, 1, features=EVERYTHING), plug(daemon, 2, ring_size=16)
    passes(other, vm, b"up", src=2)
    other.receive_all()
    segment = Segment(4, payload(20 * 1440), 1440, sender=1, receiver=2, udp=False)
    trace = Trace.of(daemon, "p1", packets=1)
    vm.send(segment.frame, header=segment.header)
    packet = trace.next()
    assert packet.length == len(segment.frame)
    (last,) = (visit for visit in packet.visits if visit.brick == "vhost/p2")
    assert (last.delivered, last.dropped, last.drop) == (16, 4, "ring_full")
    assert daemon.client.port_show(id="p2").counters.drops == {"ring_full": 4}


def test_dropped_by_the_receivers_brick_of_the_senders_kind(daemon: Daemon, plug: Plug) -> None:
    vm = plug(daemon, 1)
    passes(plug(daemon, 2), vm, b"up", src=2)
    daemon.client.port_ensure(id="p2", network=NETWORK, security=model.CLOSED)
    told = way(follow(daemon, vm, frame(2, 1, b"x")))
    assert told == [*from_p1("known"), (2, "antispoof/p2", "port_closed")]
    assert daemon.client.port_show(id="p2").counters.drops == {"port_closed": 1}
    assert daemon.client.port_show(id="p1").counters.drops == {}


# -- uplinks -----------------------------------------------------------------

TAP, VLAN = "vbtrace0", 5
OURS = "ether proto 0x88b5"
"""Not what the kernel sends by itself."""


def uplinks(daemon: Daemon, *uplinks: Uplink) -> None:
    daemon.client.network_ensure(network=NETWORK, uplinks=uplinks)


@needs_root
def test_a_tap(make_daemon: Callable[..., Daemon], netns: NetNs, plug: Plug) -> None:
    daemon = make_daemon(wrap=netns.exec)
    uplinks(daemon, Uplink(kind=UplinkKind.TAP, name=TAP))
    with Interface(netns, TAP) as host:
        vm = plug(daemon, 1)
        passes(vm, host, b"up", src=1)
        told = way(follow(daemon, vm, frame(None, 1, b"x")))
        assert told == [*from_p1("group"), (2, f"tap/{TAP}", PASSED)]
        trace = Trace.of(daemon, f"tap/{TAP}", filter=bpf.compile(OURS))
        host.send(frame(1, 2, b"from the host"))
        assert trace.next_way() == [(0, f"switch/{NETWORK}", "known"), *to_port(1, "p1")]


@needs_root
def test_a_trunk(make_daemon: Callable[..., Daemon], netns: NetNs, plug: Plug) -> None:
    daemon = make_daemon(wrap=netns.exec)
    uplinks(daemon, Uplink(kind=UplinkKind.TAP, name=TAP, vlan=VLAN))
    with Interface(netns, TAP, VLAN) as host, Interface(netns, TAP, VLAN + 1) as stranger:
        vm = plug(daemon, 1)
        passes(vm, host, b"up", src=1)
        told = way(follow(daemon, vm, frame(None, 1, b"x")))
        out = [(2, f"vlan/{TAP}", PASSED), (3, f"tap/{TAP}", PASSED)]
        assert told == [*from_p1("group"), *out]
        trace = Trace.of(daemon, f"tap/{TAP}", packets=2, filter=bpf.compile(f"vlan and {OURS}"))
        stranger.send(frame(1, 2, b"of no network"))
        assert trace.next_way() == [(0, f"vlan/{TAP}", "no_vlan")]
        # The kernel has frames of its own to send, which are no VLAN's either.
        assert dropped(daemon, f"vlan/{TAP}", "no_vlan") >= 1
        host.send(frame(1, 2, b"from the host"))
        way_in = [(0, f"vlan/{TAP}", PASSED), (1, f"switch/{NETWORK}", "known")]
        assert trace.next_way() == [*way_in, *to_port(2, "p1")]


@needs_root
def test_a_brick_on_the_way_of_what_it_sent_on(
    make_daemon: Callable[..., Daemon], netns: NetNs, plug: Plug
) -> None:
    """The second visit's drop is not the first one's, which it is within."""
    daemon = make_daemon(wrap=netns.exec)
    uplinks(daemon, *(Uplink(kind=UplinkKind.TAP, name=TAP, vlan=vlan) for vlan in (0, VLAN)))
    with Interface(netns, TAP, VLAN) as host:
        vm = plug(daemon, 1)
        passes(vm, host, b"up", src=1)
        trace = Trace.of(daemon, f"tap/{TAP}", filter=bpf.compile(f"vlan {VLAN} and vlan 7"))
        plain = frame(None, 2, b"tagged twice, of which one is taken off")
        host.send(plain[:12] + b"\x81\x00\x00\x07" + plain[12:])
        told = trace.next_way()
    beginning = [(0, f"vlan/{TAP}", PASSED), (1, f"switch/{NETWORK}", "group")]
    assert told[:2] == beginning
    assert sorted(told[2:]) == sorted([(2, f"vlan/{TAP}", "tagged"), *to_port(2, "p1")])


def test_a_tunnel(daemon: Daemon, plug: Plug) -> None:
    tunnel = Tunnel(vni=7, local="127.0.0.1", remotes=("127.0.0.2",), port=20000 + os.getpid())
    uplinks(daemon, Uplink(kind=UplinkKind.VXLAN, name="far", tunnel=tunnel))
    vm = plug(daemon, 1)
    told = way(follow(daemon, vm, frame(None, 1, b"x")))
    assert told == [*from_p1("group"), (2, "vxlan/far", PASSED)]


@needs_root
def test_a_nic(make_daemon: Callable[..., Daemon], netns: NetNs, plug: Plug) -> None:
    netns.ip("link", "add", "vbn0", "type", "veth", "peer", "name", "vbn1")
    for name in ("vbn0", "vbn1"):
        netns.ip("link", "set", name, "up")
    config = {"dpdk": {"nic": "phys0:net_af_packet0,iface=vbn0"}}
    daemon = make_daemon(wrap=netns.exec, config=config)
    uplinks(daemon, Uplink(kind=UplinkKind.NIC, name="phys0"))
    with Interface(netns, "vbn1") as host:
        vm = plug(daemon, 1)
        passes(vm, host, b"up", src=1)
        told = way(follow(daemon, vm, frame(None, 1, b"x")))
        assert told == [*from_p1("group"), (2, "nic/phys0", DELIVERED)]
        trace = Trace.of(daemon, "nic/phys0", filter=bpf.compile(OURS))
        host.send(frame(1, 2, b"from the wire"))
        assert trace.next_way() == [(0, f"switch/{NETWORK}", "known"), *to_port(1, "p1")]


# -- which packets, and how many ---------------------------------------------


def test_a_flood_over_many_ports(daemon: Daemon, plug: Plug) -> None:
    receivers = 60
    vm = plug(daemon, 1)
    others = [plug(daemon, 2 + i, ring_size=32) for i in range(receivers)]
    for other in others:
        passes(vm, other, b"up", src=1)
    # Those who came first have had what was sent for all the others, now and then twice.
    wait_until(vm.tx_done, "all of it to be taken")
    for other in others:
        other.receive_all()
    sent = frame(None, 1, b"to all")
    packet = follow(daemon, vm, sent)
    told = way(packet)
    assert len(told) == 96
    assert len(told) + packet.untold == 2 + 2 * receivers
    assert told[:2] == from_p1("group")
    for i in range(2, len(told), 2):
        port = told[i][1].partition("/")[2]
        assert told[i : i + 2] == to_port(2, port)
    assert all(hears(other, sent) for other in others)


def test_only_what_the_filter_wants(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2)
    passes(other, vm, b"up", src=2)
    trace = Trace.of(daemon, "p1", packets=2, filter=bpf.compile("udp port 9"))
    wanted = sent_by(1, ADDRESS)
    for sent in (frame(None, 1, b"other"), wanted, frame(2, 1, b"other"), wanted):
        vm.send(sent)
    assert [trace.next().head for _ in range(2)] == [wanted.hex()] * 2
    assert list(trace.packets) == []


def test_what_others_send_is_not_followed(daemon: Daemon, plug: Plug) -> None:
    """Nor what the port receives."""
    vm, other = plug(daemon, 1), plug(daemon, 2)
    trace = Trace.of(daemon, "p1")
    passes(other, vm, b"to the one that is traced", src=2)
    sent = frame(2, 1, b"x")
    vm.send(sent)
    assert trace.next().head == sent.hex()


# -- under load --------------------------------------------------------------

QUEUES, FLOWS = 2, 8


def plug_pair(daemon: Daemon, vm: VUser, rate: int) -> None:
    """Make two ports whose frontends send each other frames; *rate* 0: as fast as they can."""
    for i, port in enumerate("ab"):
        path = ensure_port(daemon, port, "client", i, QUEUES)
        vm.add(port, path, server=True, queues=QUEUES, mac=mac(i))
    for i, port in enumerate("ab"):
        vm.wait_link(port)
        vm.start(port, dst=mac(1 - i), flows=FLOWS, **({"rate": rate} if rate else {}))
    wait_traffic([(vm, port) for port in "ab"])


def test_every_packet_is_whole_under_full_load(
    two_workers: Daemon, make_vuser: Callable[..., VUser]
) -> None:
    """Of two workers, each with packets of several queues at a time; exactly as many as asked."""
    daemon = two_workers
    plug_pair(daemon, make_vuser(), rate=0)
    workers: Counter[int | None] = Counter()
    for packets in (1, 31, 1000, 333) * 2:
        traces = {port: Trace.unlimited(daemon, port, packets) for port in "ab"}
        for (port, trace), other in zip(traces.items(), "ba", strict=True):
            seen = list(trace.packets)
            assert len(seen) == packets
            src, dst = (mac("ab".index(p)).replace(":", "") for p in (port, other))
            for packet in seen:
                assert packet.head.startswith(dst + src)
                fates = [
                    from_port(port, NETWORK, "known") + to_port(2, other, fate)
                    for fate in (DELIVERED, "ring_full")
                ]
                assert way(packet) in fates
                assert sum(v.delivered + v.dropped for v in packet.visits) == 1
                workers[packet.worker] += 1
    assert set(workers) == {0, 1}


def test_nobody_notices_that_there_are_traces(
    two_workers: Daemon, make_vuser: Callable[..., VUser]
) -> None:
    """Frames are numbered: none is lost or out of its order while traces come and go."""
    daemon, vm = two_workers, make_vuser()
    plug_pair(daemon, vm, rate=5000)
    vm.reset()
    for i in range(30):
        port = "ab"[i % 2]
        more = 40 * (i % 3)
        trace = trace_again(daemon, port, 1 + more)
        assert trace.next().visits[-1].delivered == 1
        # Some leave in the middle.
        assert i % 4 == 1 or len(list(trace.packets)) == more
    for port in "ab":
        vm.stop(port)

    def arrived() -> bool:
        a, b = vm.stats("a"), vm.stats("b")
        return a.rx >= b.tx and b.rx >= a.tx

    wait_until(arrived, "all frames to arrive")
    for port in "ab":
        stats = vm.stats(port)
        assert stats.rx > 1000
        assert (stats.lost, stats.reordered, stats.duplicate, stats.rx_bad) == (0, 0, 0, 0)


def trace_again(daemon: Daemon, port: str, packets: int) -> Trace:
    """Begin a trace as soon as the daemon has let go of the one before."""

    def begun() -> Trace | None:
        try:
            return Trace.of(daemon, port, packets)
        except errors.DatapathError:
            return None

    return wait_until(begun, "the trace before to be let go")


@pytest.mark.parametrize("first", ["trace", "capture"])
def test_with_a_capture_at_the_same_port(daemon: Daemon, plug: Plug, first: str) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2)
    passes(other, vm, b"up", src=2)
    sent = frame(2, 1, b"seen by both")
    trace = Trace.of(daemon, "p1") if first == "trace" else None
    _, connection, captured = daemon.client.capture(methods.CaptureStart(port="p1"))
    trace = trace or Trace.of(daemon, "p1")
    vm.send(sent)
    assert trace.next_way() == from_p1("known") + to_port(2, "p2")
    assert hears(other, sent, TIMEOUT)
    with connection:
        connection.settimeout(TIMEOUT)
        while sent not in captured:
            captured += connection.recv(65536)


# -- who leaves --------------------------------------------------------------


def test_the_daemon_lets_go_of_what_nobody_reads(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2)
    passes(other, vm, b"up", src=2)

    def come_and_go(times: int) -> None:
        for _ in range(times):
            trace = trace_again(daemon, "p1", 1000)
            vm.send(frame(2, 1, b"x"))
            trace.next()
            del trace
        trace_again(daemon, "p1", 1)

    come_and_go(5)
    before = daemon.usage()
    come_and_go(50)
    daemon.check_flat(before)


def test_one_at_a_time(daemon: Daemon, plug: Plug) -> None:
    plug(daemon, 1)
    trace = Trace.of(daemon, "p1")
    with pytest.raises(errors.DatapathError, match="vhost/p1") as refused:
        Trace.of(daemon, "p1")
    assert "trace that is there" in refused.value.hint
    del trace


def test_a_guest_may_come_and_go(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2)
    passes(other, vm, b"up", src=2)
    trace = Trace.of(daemon, "p1", packets=2)
    for number in range(2):
        vm.send(frame(2, 1, b"%d" % number))
        assert trace.next_way()[-2:] == to_port(2, "p2")
        vm.disconnect()
        vm.connect()


def test_a_hand_over_ends_it(make_daemon: Callable[..., Daemon], plug: Plug) -> None:
    pair = make_pair(make_daemon, "dpdk")
    vm, other = plug(pair.serving, 1), plug(pair.serving, 2)
    passes(other, vm, b"up", src=2)
    trace = Trace.of(pair.serving, "p1")
    pair.hand_over()
    with pytest.raises(errors.DaemonUnreachable):
        trace.next()
    passes(other, vm, b"still up", src=2)
    told = way(follow(pair.serving, vm, frame(2, 1, b"x")))
    assert told == from_p1("known") + to_port(2, "p2")


# -- the command -------------------------------------------------------------


def test_the_command(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2)
    passes(other, vm, b"up", src=2)
    with Command(daemon, "p1", "-c", "2") as command:
        vm.send(frame(2, 1, b"x"))
        assert command.line().endswith(f"  {mac(1)} > {mac(2)}  type 0x88b5  60 bytes\n")
        vm.send(frame(2, 1, b"y"))
        status, out, err = command.wait()
    assert (status, err) == (0, [])
    lines = out.splitlines()
    assert lines[0] == "  antispoof/p1"
    assert lines[1].startswith(f"    switch/{NETWORK}  known: ")
    assert lines[-2:] == ["      antispoof/p2", "        vhost/p2  delivered"]


def test_the_command_is_interrupted(daemon: Daemon, plug: Plug) -> None:
    vm, other = plug(daemon, 1), plug(daemon, 2)
    passes(other, vm, b"up", src=2)
    with Command(daemon, "p1", "--json", "--filter", f"ether dst {mac(2)}") as command:
        vm.send(frame(2, 1, b"x"))
        packet = json.loads(command.line())
        command.interrupt()
        assert command.wait() == (0, "", ["1 of 10 packets were seen"])
    assert [visit["brick"] for visit in packet["visits"]][-1] == "vhost/p2"


def test_the_command_of_a_port_that_is_deleted(daemon: Daemon, plug: Plug) -> None:
    plug(daemon, 1)
    with Command(daemon, "p1") as command:
        daemon.client.port_remove(id="p1")
        status, out, err = command.wait()
    assert (status, out) == (1, "")
    assert err[:2] == [
        "0 of 10 packets were seen",
        "error: vhost/p1 is gone, and the trace with it",
    ]


@pytest.mark.parametrize("end", [Daemon.kill9, Daemon.stop])
def test_the_command_when_the_daemon_ends(
    daemon: Daemon, plug: Plug, end: Callable[[Daemon], object]
) -> None:
    plug(daemon, 1)
    with Command(daemon, "p1") as command:
        end(daemon)
        status, out, err = command.wait()
    assert (status, out) == (1, "")
    assert err[1] == f"error: vhost-brickd at {daemon.api_socket} went away, and the trace with it"
