# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick capture`` against a stub daemon, in this process."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import captured
from tests.unit.stub_daemon import StubDaemon
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import bpf, pcapng
from vhost_brick_plugin.cli import main as cli
from vhost_brick_plugin.cli.pcapng import Totals
from vhost_brick_plugin.datapath.fake_probes import Probes
from vhost_brick_plugin.probes import CaptureOptions, Direction
from vhost_brick_plugin.report import GraphNode, GraphResult

FRAMES = [b"one" * 20, b"another" * 30]
WEB = GraphNode(name="vhost/web", kind="vhost", network="n")
STARTED = methods.CaptureStarted(number=3, brick="vhost/web")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def data() -> bytes:
    """A whole capture of two frames."""
    probes = Probes()
    number = probes.capture_start("vhost/web", CaptureOptions())
    for frame in FRAMES:
        probes.capture("vhost/web", frame, Direction.FROM_PEER)
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as file:
        probes.capture_deliver(number, theirs.detach())
        probes.capture_stop(number)
        return file.read()


@pytest.fixture
def daemon(tmp_path: Path, data: bytes) -> Iterator[StubDaemon]:
    """One that has a capture of "web", which ends at once, and still has the port."""
    graph = GraphResult(nodes=(WEB,), edges=())
    answers = {methods.CaptureStart: STARTED, methods.Graph: graph}
    with StubDaemon(tmp_path / "api", answers) as stub:
        stub.captures = [data]
        yield stub


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command; it returns the status and what is on stderr."""

    def run(*words: str) -> tuple[int, str]:
        try:
            status = cli.main(["--api-socket", str(tmp_path / "api"), "capture", *words])
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        return status, capfd.readouterr().err

    return run


def test_what_is_asked_for(daemon: StubDaemon, run: Run, tmp_path: Path) -> None:
    status, said = run(
        *("tap/blue0", "-w", str(tmp_path / "f"), "--filter", "arp", "--direction", "to-guest"),
        *("-s", "96", "-c", "7", "--seconds", "2.5", "--buffer", "64"),
    )
    assert status == 0, said
    assert daemon.calls_of(methods.CaptureStart) == [
        methods.CaptureStart(
            port="tap/blue0",
            filter=bpf.compile("arp"),
            direction=Direction.TO_PEER,
            snaplen=96,
            packets=7,
            seconds=2.5,
            buffer=64 << 20,
        )
    ]


def test_what_is_not_said_is_left_to_the_daemon(
    daemon: StubDaemon, run: Run, tmp_path: Path
) -> None:
    run("web", "-w", str(tmp_path / "f"), "-s", "0")
    assert daemon.calls_of(methods.CaptureStart) == [methods.CaptureStart(port="web")]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-w", "f", "-s", "-1"),
        ("-w", "f", "-c", "0"),
        ("-w", "f", "--seconds", "0"),
        ("-w", "f", "--buffer", "0"),
        ("-w", "f", "--buffer", "1025"),
        ("-w", "f", "--direction", "in"),
    ],
)
def test_what_makes_no_sense(daemon: StubDaemon, run: Run, words: tuple[str, ...]) -> None:
    status, _ = run("web", *words)
    assert status == 2
    assert daemon.calls == []


# -- files ---------------------------------------------------------------------


def test_a_file_has_what_came(daemon: StubDaemon, run: Run, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "f"
    status, said = run("web", "-w", str(path), "-c", "2")
    assert (status, said) == (
        0,
        "capturing at vhost/web; Ctrl-C ends it\n"
        "2 packets captured, 0 lost for want of room (--buffer), 2 seen\n",
    )
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_overwritten(daemon: StubDaemon, run: Run, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"before" * 1000)
    path.chmod(0o640)
    run("web", "-w", str(path))
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_stdout(
    daemon: StubDaemon, tmp_path: Path, data: bytes, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cli.main(["--api-socket", daemon.path, "capture", "web", "-w", "-"]) == 0
    assert capfdbinary.readouterr().out == data


def test_a_terminal_is_refused(daemon: StubDaemon, run: Run) -> None:
    ours, theirs = os.openpty()
    try:
        status, said = run("web", "-w", os.ttyname(theirs))
    finally:
        os.close(ours)
        os.close(theirs)
    assert status == 1
    assert "error: packets are not written to a terminal\nhint: Name a file, or pipe" in said
    assert daemon.calls == []


def test_a_file_that_cannot_be_made(daemon: StubDaemon, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "f"
    assert run("web", "-w", str(path)) == (1, f"error: {path}: No such file or directory\n")
    assert daemon.calls == []


def test_a_filter_that_is_none(daemon: StubDaemon, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"
    status, said = run("web", "-w", str(path), "--filter", "hots 10.0.0.1")
    assert status == 1
    assert "error: 'hots 10.0.0.1' is no filter: " in said
    assert daemon.calls == []
    assert not path.exists()


@pytest.mark.parametrize("before", [None, b"as it was"])
def test_a_file_is_as_it_was_if_nothing_starts(
    daemon: StubDaemon, run: Run, tmp_path: Path, before: bytes | None
) -> None:
    daemon.answers[methods.CaptureStart] = errors.BrickNotFound("the graph has no brick vhost/web")
    path = tmp_path / "f"
    if before is not None:
        path.write_bytes(before)
    status, said = run("web", "-w", str(path))
    assert status == 1
    assert "error: the graph has no brick vhost/web\nhint: 'vhost-brick graph' shows" in said
    assert (path.read_bytes() if path.exists() else None) == before


def test_no_space_is_left(daemon: StubDaemon, run: Run) -> None:
    status, said = run("web", "-w", "/dev/full")
    assert (status, said.splitlines()[-1]) == (1, "error: /dev/full: No space left on device")


def test_nobody_reads(daemon: StubDaemon, run: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # For its opening, and no longer.
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    daemon.answers[methods.CaptureStart] = lambda _: os.close(reader) or STARTED
    assert run("web", "-w", str(fifo)) == (141, "capturing at vhost/web; Ctrl-C ends it\n")


# -- ends ----------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 20, 200])
def test_a_capture_that_breaks_off_leaves_whole_packets(
    daemon: StubDaemon, run: Run, tmp_path: Path, data: bytes, missing: int
) -> None:
    daemon.captures = [data[:-missing]]
    path = tmp_path / "f"
    status, said = run("web", "-w", str(path))
    assert status == 1
    assert f"error: the capture broke off: vhost-brickd at {daemon.path} has gone" in said
    assert f"hint: {path} has what came until then, in whole packets." in said
    left = path.read_bytes()
    assert data.startswith(left)
    # What is missing of the second packet, too, is more than the block at the end.
    whole = FRAMES if missing < 200 else FRAMES[:1]
    assert [packet.data for packet in captured.read(left)] == whole


def test_a_capture_that_never_begins(daemon: StubDaemon, run: Run, tmp_path: Path) -> None:
    daemon.captures = [b""]
    status, said = run("web", "-w", str(tmp_path / "f"))
    assert status == 1
    assert "error: the capture broke off" in said


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (GraphResult(nodes=(), edges=()), "vhost/web was deleted"),
        (GraphResult(nodes=(WEB,), edges=()), "vhost-brickd has handed over or restarted"),
        (errors.DaemonUnreachable("gone"), "vhost-brickd has stopped"),
    ],
)
def test_an_end_that_nobody_here_wanted(
    daemon: StubDaemon, run: Run, tmp_path: Path, graph: object, why: str
) -> None:
    daemon.answers[methods.Graph] = graph
    status, said = run("web", "-w", str(tmp_path / "f"), "-c", "3")
    assert status == 0
    assert f"the capture has ended: {why}" in said


def test_totals_are_those_of_a_whole_file(data: bytes) -> None:
    assert pcapng.totals(data) == Totals(seen=2, lost=0, captured=2)
    assert pcapng.totals(data[-pcapng.MAX_TOTALS :]) == Totals(seen=2, lost=0, captured=2)
    for missing in range(1, len(data) + 1):
        assert pcapng.totals(data[:-missing]) is None


@pytest.mark.parametrize("body", [b"", b"\0" * 8, b"\4\0\x08\0" * 4], ids=len)
def test_what_only_looks_like_an_end(body: bytes) -> None:
    length = struct.pack("=I", 12 + len(body))
    assert pcapng.totals(struct.pack("=I", 5) + length + body + length) is None
