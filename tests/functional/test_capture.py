# SPDX-License-Identifier: Apache-2.0
"""What ``vhost-brick capture`` writes is what passed, and nothing that passes suffers by it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests.captured import Packet, read
from tests.frontend.vhost_user import PLAIN, Frontend, NetHeader
from tests.frontend.vuser import VUser
from tests.functional.capturing import Capture, command
from tests.functional.daemon import Daemon
from tests.functional.exchange import (
    NETWORK,
    ensure_port,
    frame,
    mac,
    pass_frame,
    receive_frame,
    wait_exchange,
)
from tests.functional.netns import NetNs
from tests.functional.pair import make_pair
from tests.functional.tcp import EVERYTHING, Segment, payload
from tests.functional.waiting import wait_until
from tests.functional.wire import Interface, passes
from vhost_brick_plugin.cli.pcapng import Totals
from vhost_brick_plugin.model import AddressPair, PortSecurity, SecurityMode, Uplink, UplinkKind
from vhost_brick_plugin.probes import Direction

WEB, DB = 0, 1
"""Numbers of the two guests; captures are at the first one's port, "web"."""

FROM, TO = Direction.FROM_PEER, Direction.TO_PEER

Guests = tuple[Frontend, Frontend]
Passed = tuple[Direction, bytes]

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark")
needs_tcpdump = pytest.mark.skipif(not shutil.which("tcpdump"), reason="no tcpdump")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")


@pytest.fixture
def guests(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> Guests:
    return connect(daemon, make_frontend)


def connect(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> Guests:
    """Return two guests that can do all there is, with nothing on its way between them."""
    web, db = (
        make_frontend(ensure_port(daemon, name, "server", number), features=EVERYTHING)
        for number, name in enumerate(("web", "db"))
    )
    meet(web, db)
    return web, db


def meet(web: Frontend, db: Frontend) -> None:
    for guest in (web, db):
        guest.connect()
    pass_frame(web, db, frame(DB, WEB, b"up"))
    pass_frame(db, web, frame(WEB, DB, b"up"))
    carry(web, db, frame(DB, WEB, b"all is through"))
    carry(db, web, frame(WEB, DB, b"all is through"))


def carry(sender: Frontend, receiver: Frontend, data: bytes, header: NetHeader = PLAIN) -> None:
    """Send a frame, once, and wait until it has arrived: it has passed at both ports then."""
    sender.send(data, header=header)
    receive_frame(receiver, data)


def unicast(sender: int, receiver: int, what: bytes, size: int = 60) -> bytes:
    return frame(receiver, sender, what.ljust(size - 14, b"."))


def stream(guests: Guests) -> list[Passed]:
    """Let frames of all sizes pass at web; return them in their order."""
    web, db = guests
    passed: list[Passed] = []
    for size in (60, 61, 62, 63, 64, 127, 128, 129, 590, 1024, 1513, 1514):
        out, back = unicast(WEB, DB, b"out", size), unicast(DB, WEB, b"back", size)
        carry(web, db, out)
        carry(db, web, back)
        passed += [(FROM, out), (TO, back)]
    for to_all, sender, receiver in ((FROM, web, db), (TO, db, web)):
        everybody = frame(None, WEB if sender is web else DB, b"to all")
        carry(sender, receiver, everybody)
        passed.append((to_all, everybody))
    segment = Segment(4, payload(63000), 1440, WEB, DB)
    carry(web, db, segment.frame, segment.header)
    passed.append((FROM, segment.frame))
    burst = [unicast(DB, WEB, b"burst %d" % number, 60 + 40 * number) for number in range(32)]
    for data in burst:
        db.send(data)
    receive_frame(web, burst[-1])
    return passed + [(TO, data) for data in burst]


def passed_in(packets: Sequence[Packet]) -> list[Passed]:
    return [(packet.direction, packet.data) for packet in packets]


# -- what is in it -------------------------------------------------------------


def test_a_known_stream_as_scapy_reads_it(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng") as capture:
        before = time.time_ns()
        sent = stream(guests)
        after = time.time_ns()
        assert capture.end() == Totals(seen=len(sent), lost=0, captured=len(sent))
    packets = read(capture.path)
    assert passed_in(packets) == sent
    assert all(packet.length == len(packet.data) for packet in packets)
    assert {packet.interface for packet in packets} == {"vhost/web"}
    times = [packet.time for packet in packets]
    assert times == sorted(times)
    assert before <= times[0]
    assert times[-1] <= after
    # Of a clock that tells microseconds all would be a multiple of thousand.
    assert any(time % 1000 for time in times)


@needs_tshark
def test_a_known_stream_as_tshark_reads_it(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng") as capture:
        before = time.time_ns()
        sent = stream(guests)
        after = time.time_ns()
        capture.end()
    rows = tshark(
        capture.path,
        *("frame.len", "frame.cap_len", "frame.interface_name", "frame.packet_flags_direction"),
        *("frame.encap_type", "eth.src", "eth.dst", "frame.time_epoch"),
    )
    inbound, outbound = "0x00000001", "0x00000002"
    ethernet = "1"
    for (direction, data), row in zip(sent, rows, strict=True):
        flags = inbound if direction is FROM else outbound
        size = str(len(data))
        assert row[:5] == [size, size, "vhost/web", flags, ethernet]
        assert row[5:7] == [data[6:12].hex(":"), data[:6].hex(":")]
        seconds, nanoseconds = row[7].split(".")
        assert len(nanoseconds) == 9
        assert before <= int(seconds + nanoseconds) <= after


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """Return so many fields of each packet."""
    options = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_packets_of_two_workers_are_in_one_order(
    two_workers: Daemon, make_frontend: Callable[..., Frontend], tmp_path: Path
) -> None:
    """What web sends is seen by the worker of its port, what it is given by that of the other."""
    guests = connect(two_workers, make_frontend)
    with Capture(two_workers, "web", tmp_path / "web.pcapng") as capture:
        sent = stream(guests)
        capture.end()
    assert passed_in(read(capture.path)) == sent
    assert all(worker.busy_polls for worker in two_workers.client.stats().workers)


def test_bytes_of_each_packet(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng", "-s", "64") as capture:
        sent = stream(guests)
        capture.end()
    packets = read(capture.path)
    assert passed_in(packets) == [(direction, data[:64]) for direction, data in sent]
    assert [packet.length for packet in packets] == [len(data) for _, data in sent]


@pytest.mark.parametrize(("name", "only"), [("from-guest", FROM), ("to-guest", TO)])
def test_one_direction(
    daemon: Daemon, guests: Guests, tmp_path: Path, name: str, only: Direction
) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng", "--direction", name) as capture:
        wanted = [(direction, data) for direction, data in stream(guests) if direction is only]
        assert capture.end().seen == len(wanted)
    assert passed_in(read(capture.path)) == wanted


def test_its_end_by_number(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng", "-c", "5") as capture:
        sent = stream(guests)
        assert capture.totals().captured == 5
    assert passed_in(read(capture.path)) == sent[:5]


def test_its_end_by_time(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    began = time.monotonic()
    with Capture(daemon, "web", tmp_path / "web.pcapng", "--seconds", "0.3") as capture:
        in_time = capture.totals().captured
    assert time.monotonic() - began >= 0.3
    carry(*guests, unicast(WEB, DB, b"too late"))
    assert len(read(capture.path)) == in_time == 0


# -- filters -------------------------------------------------------------------

ETHER = Ether(src=mac(WEB), dst=mac(DB))
KINDS = {
    "icmp": ETHER / IP(src="192.0.2.1", dst="192.0.2.2") / ICMP(),
    "arp": ETHER / ARP(psrc="192.0.2.1", pdst="192.0.2.2"),
    "vlan 7": ETHER / Dot1Q(vlan=7) / IP(src="192.0.2.9", dst="192.0.2.8") / UDP(dport=53),
    "host 192.0.2.3": ETHER / IP(src="192.0.2.3", dst="192.0.2.4") / UDP(sport=1, dport=2),
    "udp port 53": ETHER / IP(src="192.0.2.1", dst="192.0.2.5") / UDP(dport=53),
    "ether proto 0x88b5": unicast(WEB, DB, b"no IP"),
}
"""Filters, and the one frame that each of them is true of."""


def send_kinds(guests: Guests) -> dict[str, bytes]:
    web, db = guests
    frames = {name: bytes(kind).ljust(60, b"\0") for name, kind in KINDS.items()}
    for data in frames.values():
        carry(web, db, data)
    return frames


@pytest.mark.parametrize("filter", KINDS)
def test_a_filter(daemon: Daemon, guests: Guests, tmp_path: Path, filter: str) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng", "--filter", filter) as capture:
        frames = send_kinds(guests)
        assert capture.end() == Totals(seen=len(frames), lost=0, captured=1)
    assert passed_in(read(capture.path)) == [(FROM, frames[filter])]


def test_two_at_once(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    """Each has its filter, and both see what they would see alone."""
    with (
        Capture(daemon, "web", tmp_path / "icmp", "--filter", "icmp") as icmp,
        Capture(daemon, "web", tmp_path / "other", "--filter", "not icmp") as other,
    ):
        frames = send_kinds(guests)
        icmp.end()
        carry(*guests, unicast(WEB, DB, b"only one is left"))
        other.end()
    assert passed_in(read(icmp.path)) == [(FROM, frames.pop("icmp"))]
    wanted = [*frames.values(), unicast(WEB, DB, b"only one is left")]
    assert passed_in(read(other.path)) == [(FROM, data) for data in wanted]


def test_what_is_dropped_later_is_seen(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    own = PortSecurity(mode=SecurityMode.FILTERED, allowed=(AddressPair(mac=mac(WEB)),))
    daemon.client.port_ensure(id="web", network=NETWORK, security=own)
    web, db = guests
    spoofed, honest = unicast(7, DB, b"spoofed"), unicast(WEB, DB, b"honest")
    with (
        Capture(daemon, "web", tmp_path / "web") as at_web,
        Capture(daemon, "db", tmp_path / "db") as at_db,
    ):
        web.send(spoofed)
        carry(web, db, honest)
        at_web.end()
        at_db.end()
    assert passed_in(read(at_web.path)) == [(FROM, spoofed), (FROM, honest)]
    assert passed_in(read(at_db.path)) == [(TO, honest)]


# -- pipes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param(["tshark", "-l", "-r", "-"], marks=needs_tshark, id="tshark"),
        pytest.param(["tcpdump", "-l", "-n", "-r", "-"], marks=needs_tcpdump, id="tcpdump"),
    ],
)
def test_packets_are_seen_as_they_pass(daemon: Daemon, guests: Guests, reader: list[str]) -> None:
    """What is said of each one is waited for before the next frame is sent."""
    with (
        subprocess.Popen(
            reader, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as seen,
        Capture(daemon, "web", "-", stdout=seen.stdin) as capture,
    ):
        assert seen.stdin
        assert seen.stdout
        seen.stdin.close()
        for _ in range(3):
            carry(*guests, bytes(KINDS["arp"]).ljust(60, b"\0"))
            assert b"ARP" in seen.stdout.readline()
        assert capture.process.poll() is None
        capture.end()
        assert seen.wait(20) == 0


@needs_tcpdump
def test_a_reader_that_has_seen_enough(daemon: Daemon, guests: Guests) -> None:
    with (
        subprocess.Popen(
            ["tcpdump", "-n", "-c", "2", "-r", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as reader,
        Capture(daemon, "web", "-", stdout=reader.stdin) as capture,
    ):
        assert reader.stdin
        reader.stdin.close()
        for _ in range(2):
            carry(*guests, unicast(WEB, DB, b"look"))
        assert reader.wait(20) == 0
        # No packet passes any more.
        assert capture.wait(141) == ""


# -- what happens meanwhile ----------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_by_signal(daemon: Daemon, guests: Guests, tmp_path: Path, number: int) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng") as capture:
        sent = stream(guests)
        assert capture.end(number).captured == len(sent)


def test_the_port_is_deleted(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng") as capture:
        sent = stream(guests)
        daemon.client.port_remove(id="web")
        assert "the capture has ended: vhost/web was deleted" in capture.wait(0)
    assert passed_in(read(capture.path)) == sent


def test_the_guest_leaves_and_comes_back(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    web, db = guests
    with Capture(daemon, "web", tmp_path / "web.pcapng", "--direction", "from-guest") as capture:
        sent = stream(guests)
        web.disconnect()
        wait_until(lambda: not daemon.client.port_show(id="web").sessions, "the session's end")
        web.connect()
        again = unicast(WEB, DB, b"again")
        pass_frame(web, db, again)
        capture.end()
    wanted = [passed for passed in sent if passed[0] is FROM]
    captured = passed_in(read(capture.path))
    assert captured[: len(wanted)] == wanted
    assert set(captured[len(wanted) :]) == {(FROM, again)}


def test_it_is_there_before_the_guest(
    daemon: Daemon, make_frontend: Callable[..., Frontend], tmp_path: Path
) -> None:
    ensure_port(daemon, "web", "server", WEB)
    with Capture(daemon, "web", tmp_path / "web.pcapng") as capture:
        connect(daemon, make_frontend)
        capture.end()
    assert (FROM, frame(DB, WEB, b"all is through")) in passed_in(read(capture.path))


def test_the_daemon_is_killed(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng") as capture:
        sent = stream(guests)
        wait_until(lambda: passed_in(read(capture.path)) == sent, "the packets to be in the file")
        daemon.kill9()
        said = capture.wait(1)
    assert "the capture broke off" in said
    assert f"hint: {capture.path} has what came" in said
    assert passed_in(read(capture.path)) == sent


def test_the_command_is_killed(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    def capture_and_kill() -> None:
        with Capture(daemon, "web", tmp_path / "web.pcapng") as capture:
            carry(*guests, unicast(WEB, DB, b"seen"))
            capture.process.kill()

    capture_and_kill()
    before, threads = daemon.usage(), thread_count(daemon)
    for _ in range(20):
        capture_and_kill()
    wait_until(lambda: thread_count(daemon) <= threads, "its threads to end")
    daemon.check_flat(before)


def thread_count(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/task"))


def test_it_ends_with_a_hand_over(
    make_daemon: Callable[..., Daemon], make_frontend: Callable[..., Frontend], tmp_path: Path
) -> None:
    pair = make_pair(make_daemon, "dpdk")
    guests = connect(pair.serving, make_frontend)
    pair.wait_in_sync()
    with Capture(pair.serving, "web", tmp_path / "web.pcapng") as capture:
        sent = stream(guests)
        pair.hand_over()
        assert "the capture has ended: vhost-brickd has handed over" in capture.wait(0)
    assert passed_in(read(capture.path)) == sent


def test_it_ends_with_the_daemon(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    with Capture(daemon, "web", tmp_path / "web.pcapng") as capture:
        sent = stream(guests)
        assert daemon.stop() == 0
        assert "the capture has ended: vhost-brickd has stopped" in capture.wait(0)
    assert passed_in(read(capture.path)) == sent


@needs_root
def test_an_uplink(
    make_daemon: Callable[..., Daemon], make_frontend: Callable[..., Frontend], tmp_path: Path
) -> None:
    tap = "vbp0"
    with NetNs(f"vbp-{os.getpid()}") as netns:
        daemon = make_daemon(wrap=netns.exec)
        uplink = Uplink(kind=UplinkKind.TAP, name=tap)
        daemon.client.network_ensure(network=NETWORK, uplinks=(uplink,))
        netns.ip("link", "set", tap, "up")
        web = make_frontend(ensure_port(daemon, "web", "server", WEB))
        web.connect()
        with Interface(netns, tap) as host:
            passes(web, host, b"up", WEB)
            with Capture(
                *(daemon, f"tap/{tap}", tmp_path / "tap.pcapng"), "--filter", "ether proto 0x88b5"
            ) as capture:
                passes(web, host, b"out", WEB)
                passes(host, web, b"in", DB)
                capture.end()
    packets = read(capture.path)
    assert {packet.interface for packet in packets} == {f"tap/{tap}"}
    assert {(TO, frame(None, WEB, b"out")), (FROM, frame(None, DB, b"in"))} <= set(
        passed_in(packets)
    )


# -- under load ----------------------------------------------------------------

LOAD = 150_000
"""Frames: more than fit into the smallest buffer and all that is between it and a reader."""


def test_a_reader_that_does_not_read_costs_the_capture_only(
    daemon: Daemon, make_vuser: Callable[..., VUser]
) -> None:
    vm = make_vuser()
    names = ("a", "b", "c", "d")
    for number, name in enumerate(names):
        # A ring that all that is on its way has room in, so that none may be lost.
        path = ensure_port(daemon, name, "server", number)
        vm.add(name, path, mac=mac(number), queue_size=1024 if name in "bd" else 256)
    for name in names:
        vm.wait_link(name)
    for one, other in (("a", "b"), ("c", "d")):
        wait_exchange(vm, one, other)
    with Capture(
        *(daemon, "a", "-", "--buffer", "1", "--direction", "from-guest"), stdout=subprocess.PIPE
    ) as capture:
        began = time.time_ns()
        vm.reset()
        before = {name: daemon.client.port_show(id=name).counters for name in names}
        vm.start("c", src=mac(2), dst=mac(3), rate=2000)
        vm.send("a", LOAD, timeout=60, src=mac(0), dst=mac(1))
        wait_until(lambda: vm.stats("b").rx == LOAD, f"{LOAD} frames at b", timeout=60)
        vm.stop("c")
        wait_until(lambda: vm.stats("d").rx == vm.stats("c").tx > 0, "all frames at d")
        assert (vm.stats("b").lost, vm.stats("d").lost) == (0, 0)
        for name in names:
            assert daemon.client.port_show(id=name).counters.drops == before[name].drops
        ended = time.time_ns()
        capture.process.send_signal(signal.SIGINT)
        assert capture.process.stdout
        data = capture.process.stdout.read()
        totals = capture.totals()
    assert totals.seen == LOAD
    assert totals.lost > 0
    times = [packet.time for packet in read(data)]
    assert totals.captured == LOAD - totals.lost == len(times)
    # Also of those that have waited for the reader.
    assert began <= times[0]
    assert times[-1] <= ended
    assert times == sorted(times)


def test_packets_that_wait_for_their_reader_keep_their_times(
    daemon: Daemon, guests: Guests, tmp_path: Path
) -> None:
    """EAL rounds the TSC's frequency: a second that is told by it is milliseconds too long."""
    segment = Segment(4, payload(63000), 1440, WEB, DB)
    with (
        Capture(daemon, "web", "-", stdout=subprocess.PIPE) as late,
        Capture(daemon, "web", tmp_path / "web.pcapng", "--seconds", "1.5") as prompt,
    ):
        # More than there is room for on the way from the daemon.
        for _ in range(40):
            carry(*guests, segment.frame, segment.header)
        prompt.totals()
        late.process.send_signal(signal.SIGINT)
        assert late.process.stdout
        data = late.process.stdout.read()
        late.totals()
    # The last ones have waited for all that time; the two see each one within a moment.
    pairs = zip(read(data)[-5:], read(prompt.path)[-5:], strict=True)
    assert min(abs(one.time - other.time) for one, other in pairs) < 200_000


# -- errors --------------------------------------------------------------------


def test_what_cannot_be_captured(daemon: Daemon, guests: Guests, tmp_path: Path) -> None:
    daemon.client.port_ensure(id="web", network=NETWORK)
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    for port, said in (
        ("nope", "the graph has no brick vhost/nope"),
        (f"switch/{NETWORK}", f"switch/{NETWORK} has no host's side"),
    ):
        done = subprocess.run(
            [*command(daemon), "capture", port, "-w", kept],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert f"error: {said}" in done.stderr
        assert kept.read_text() == "as it was"
