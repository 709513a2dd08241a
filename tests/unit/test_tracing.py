# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick trace``: what it prints, what it asks for, and what the daemon streams to it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.unit.stub_daemon import StubDaemon
from tests.unit.support import port
from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.cli import bpf
from vhost_brick_plugin.cli import main as cli
from vhost_brick_plugin.cli.trace import text
from vhost_brick_plugin.daemon import server
from vhost_brick_plugin.daemon.dispatch import Dispatcher
from vhost_brick_plugin.daemon.probes import Probes
from vhost_brick_plugin.daemon.settings import Access
from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.datapath.fake import FakeDatapath
from vhost_brick_plugin.model import Network
from vhost_brick_plugin.probes import MAX_TRACED, Instruction, TracedPacket, Visit

LIMIT = 10.0

HEAD = "ffffffffffff52540000000108060001080006040001525400000001c0000201000000000000c0000207"
TO_ALL = "to all, since the destination is a group address or broadcast"
SPOOFED = "the guest may not send from this IP address"


def visit(brick: str, depth: int, **what: Any) -> Visit:
    values: dict[str, Any] = {"decision": "", "delivered": 0, "dropped": 0, "drop": ""}
    return Visit(brick=brick, depth=depth, **(values | what))


FLOODED = TracedPacket(
    time=1700000000.123456,
    worker=0,
    length=60,
    head=HEAD,
    visits=(
        visit("antispoof/web", 0),
        visit("switch/blue", 1, decision="group", meaning=TO_ALL),
        visit("antispoof/db", 2),
        visit("vhost/db", 3, delivered=1),
        visit("tap/blue0", 2),
    ),
)
DROPPED = dataclasses.replace(
    FLOODED,
    visits=(visit("antispoof/web", 0, dropped=1, drop="spoofed_ip", meaning=SPOOFED),),
)

# -- in words ----------------------------------------------------------------


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")


def way(*visits: Visit, **changes: Any) -> list[str]:
    """Return what is told below a packet's own lines."""
    packet = dataclasses.replace(FLOODED, visits=visits, **changes)
    return text(packet).partition(" bytes\n")[2].splitlines()


def test_a_packet_and_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    _, _, packet = text(FLOODED).partition(".")
    assert packet == (
        "123456  52:54:00:00:00:01 > ff:ff:ff:ff:ff:ff  ARP who-has 192.0.2.7 tell 192.0.2.1"
        "  60 bytes\n"
        "  antispoof/web\n"
        "    switch/blue  group: to all, since the destination is a group address or broadcast\n"
        "      antispoof/db\n"
        "        vhost/db  delivered\n"
        "      tap/blue0  handed to the host thread"
    )


def test_a_terminal_that_is_narrow() -> None:
    lines = text(FLOODED).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1] == "                 ARP who-has 192.0.2.7 tell 192.0.2.1  60 bytes"
    assert lines[3:5] == [
        "    switch/blue  group: to all, since the destination is a group address or",
        "        broadcast",
    ]


def test_why_a_packet_was_dropped() -> None:
    told = ["  antispoof/web  dropped: spoofed_ip (the guest may not send from this IP address)"]
    assert " ".join(line.strip() for line in way(*DROPPED.visits)) == told[0].strip()


def test_a_packet_that_became_many() -> None:
    sent = visit("vhost/db", 0, delivered=3, dropped=2, drop="ring_full", meaning="too slow")
    assert way(sent) == [
        "  vhost/db  delivered as 3 packets, dropped as 2 packets: ring_full (too slow)"
    ]


def test_a_brick_of_which_nothing_is_known_says_nothing() -> None:
    """Of a flood, the last one that is told may have gone on to one that is not."""
    assert way(visit("antispoof/db", 0), untold=7) == ["  antispoof/db", "  ... and 7 visits more"]
    assert way(visit("vxlan/x", 0)) == ["  vxlan/x  handed to the host thread"]


# -- the command, against a stub daemon --------------------------------------

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[StubDaemon]:
    with StubDaemon(tmp_path / "api") as stub:
        stub.answers[methods.Trace] = methods.Tracing(brick="vhost/web")
        yield stub


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str) -> tuple[int, str, str]:
        try:
            status = cli.main(["--api-socket", str(tmp_path / "api"), "trace", *argv])
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        return (status, *capsys.readouterr())

    return call


def test_it_asks_for_what_it_was_told(daemon: StubDaemon, run: Run) -> None:
    daemon.streams = [[FLOODED, DROPPED]]
    status, out, err = run("web", "-c", "2", "--filter", "arp")
    assert (status, out) == (0, f"{text(FLOODED)}\n{text(DROPPED)}\n")
    assert err == "waiting for packets from vhost/web, up to 2; Ctrl-C ends it\n"
    assert daemon.calls == [methods.Trace(port="web", packets=2, filter=bpf.compile("arp"))]


def test_json_is_what_the_api_says(daemon: StubDaemon, run: Run) -> None:
    daemon.streams = [[FLOODED, DROPPED]]
    status, out, _ = run("tap/blue0", "--count", "2", "--json")
    assert status == 0
    told = [json.loads(line) for line in out.splitlines()]
    assert told == [codec.to_json(FLOODED), codec.to_json(DROPPED)]
    assert daemon.calls == [methods.Trace(port="tap/blue0", packets=2)]


def test_the_port_goes(daemon: StubDaemon, run: Run) -> None:
    daemon.streams = [[FLOODED, errors.BrickNotFound("vhost/web is gone", hint="look")]]
    status, out, err = run("web")
    assert (status, out) == (1, f"{text(FLOODED)}\n")
    assert err.splitlines()[1:] == [
        "1 of 10 packets were seen",
        "error: vhost/web is gone",
        "hint: look",
    ]


def test_the_daemon_goes(daemon: StubDaemon, run: Run) -> None:
    daemon.streams = [[FLOODED]]
    status, out, err = run("web")
    assert (status, out) == (1, f"{text(FLOODED)}\n")
    assert err.splitlines()[1:] == [
        "1 of 10 packets were seen",
        f"error: vhost-brickd at {daemon.path} went away, and the trace with it",
        "hint: Start the trace again when it is back.",
    ]


def test_it_is_interrupted(daemon: StubDaemon, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def packets() -> Iterator[TracedPacket]:
        yield FLOODED
        raise KeyboardInterrupt

    tracing = methods.Tracing(brick="vhost/web")
    monkeypatch.setattr(Client, "trace", lambda *_: (tracing, packets()))
    status, out, err = run("web")
    assert (status, out) == (0, f"{text(FLOODED)}\n")
    assert err.splitlines()[1:] == ["1 of 10 packets were seen"]


@pytest.mark.parametrize("words", [["-c", "0"], ["--seconds", "-1"], ["--filter", "arp arp"], []])
def test_what_makes_no_sense_is_asked_of_nobody(
    daemon: StubDaemon, run: Run, words: list[str]
) -> None:
    status, out, err = run(*(["web", *words] if words else []))
    assert status != 0
    assert (out, daemon.calls) == ("", [])
    assert "waiting" not in err


# -- the daemon, over the datapath without packets ---------------------------


class Rig:
    """A server that has nothing but probes, and a port to look at.

    :ivar stopped: a trace has been let go.
    """

    def __init__(self, path: Path) -> None:
        self.client = Client(str(path), LIMIT)
        self.datapath = _StoppedTells()
        self.stopped = self.datapath.stopped
        self._path = str(path)
        self._thread = ThreadPoolExecutor(1)
        self._loop = asyncio.new_event_loop()
        probes = Probes(self.datapath, self._thread)
        self._server = server.Server(self._path, Dispatcher({}, probes.handlers, self._thread))

    @contextlib.contextmanager
    def running(self) -> Iterator[Rig]:
        self.datapath.start(Options())
        self.datapath.network_add(Network(name="n"))
        self.datapath.port_add(port("web"), self.datapath.offer(port("web")))
        loop = threading.Thread(target=self._loop.run_forever)
        loop.start()
        try:
            self._wait(self._server.start(server.listen(self._path, Access())))
            yield self
            self.end()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            loop.join()
            self._loop.close()
            self._thread.shutdown()

    def _wait(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LIMIT)

    def end(self) -> None:
        """End the server as a daemon does that ends; safe to call twice."""
        self._wait(self._server.stop())

    def trace(self, **request: Any) -> Iterator[TracedPacket]:
        tracing, packets = self.client.trace(methods.Trace(port="web", **request))
        assert tracing == methods.Tracing(brick="vhost/web")
        return packets

    def on_thread(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the datapath's thread do something."""
        self._thread.submit(function, *args).result(LIMIT)

    def pass_packets(self, *packets: TracedPacket) -> None:
        for packet in packets:
            self.on_thread(self.datapath.pass_traced, "vhost/web", packet)


class _StoppedTells(FakeDatapath):
    def __init__(self) -> None:
        super().__init__()
        self.stopped = threading.Event()

    def trace_stop(self, number: int) -> bool:
        existed = super().trace_stop(number)
        self.stopped.set()
        return existed


@pytest.fixture
def rig(short_dir: Path) -> Iterator[Rig]:
    with Rig(short_dir / "api").running() as rig:
        yield rig


def test_packets_are_streamed_to_the_last(rig: Rig) -> None:
    packets = rig.trace(packets=3)
    rig.pass_packets(FLOODED)
    assert next(packets) == FLOODED
    rig.pass_packets(DROPPED, FLOODED, DROPPED)
    assert list(packets) == [DROPPED, FLOODED]
    assert rig.stopped.wait(LIMIT)


def test_a_brick_that_goes_is_an_error(rig: Rig) -> None:
    packets = rig.trace(packets=2)
    rig.pass_packets(FLOODED)
    rig.on_thread(rig.datapath.port_remove, "web")
    assert next(packets) == FLOODED
    with pytest.raises(errors.BrickNotFound, match="vhost/web is gone"):
        next(packets)
    assert rig.stopped.wait(LIMIT)


def test_a_datapath_that_fails_is_an_error(rig: Rig) -> None:
    packets = rig.trace()
    rig.on_thread(rig.datapath.trace_stop, 1)
    with pytest.raises(errors.DatapathError, match="there is no trace 1"):
        next(packets)


def test_who_leaves_ends_the_trace(rig: Rig) -> None:
    packets = rig.trace()
    rig.pass_packets(FLOODED)
    assert next(packets) == FLOODED
    del packets
    assert rig.stopped.wait(LIMIT)
    # It could not begin if the one before were still there.
    rig.trace(packets=1)


def test_time_ends_it_whatever_there_was(rig: Rig) -> None:
    _, packets = rig.client.trace(methods.Trace(port="web"), seconds=1.0)
    rig.pass_packets(FLOODED)
    assert list(packets) == [FLOODED]
    assert rig.stopped.wait(LIMIT)


@pytest.mark.parametrize("packets", [0, -1, MAX_TRACED + 1])
def test_a_number_of_packets_that_cannot_be(rig: Rig, packets: int) -> None:
    with pytest.raises(errors.InvalidParams, match=f"from 1 to {MAX_TRACED}") as refused:
        rig.trace(packets=packets)
    assert "another trace" in refused.value.hint


def test_a_filter_that_is_too_long(rig: Rig) -> None:
    insn = Instruction(code=6, jt=0, jf=0, k=0)
    with pytest.raises(errors.InvalidParams, match="513 instructions"):
        rig.trace(filter=(insn,) * 513)


def test_a_brick_that_is_not_there(rig: Rig) -> None:
    with pytest.raises(errors.BrickNotFound, match="tap/x"):
        rig.client.trace(methods.Trace(port="tap/x"))
    with pytest.raises(errors.BrickNotFound, match="no host's side"):
        rig.client.trace(methods.Trace(port="switch/n"))


def test_a_daemon_that_ends_tells_its_tracers(rig: Rig) -> None:
    packets = rig.trace()
    rig.pass_packets(FLOODED)
    assert next(packets) == FLOODED
    rig.end()
    with pytest.raises(errors.DaemonUnreachable):
        next(packets)
