# SPDX-License-Identifier: Apache-2.0
"""Standby and hand-over, whatever moves the packets: the daemons are real."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import Daemon, DaemonFailed
from tests.functional.pair import STANDBY, Pair, make_pair
from tests.functional.waiting import wait_until
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon.lock import Lock

MakeDaemon = Callable[..., Daemon]

REFUSED = 3


def ensure(daemon: Daemon, id: str, **params: Any) -> methods.PortStatus:
    params = {"network": "n", "create_network": True, **params}
    status: methods.PortStatus = daemon.client.port_ensure(id=id, **params)
    return status


def everything(daemon: Daemon) -> tuple[object, ...]:
    return daemon.client.port_list(), daemon.client.network_list()


@pytest.fixture
def pair(make_daemon: MakeDaemon) -> Pair:
    return make_pair(make_daemon, "fake")


# -- a crash -----------------------------------------------------------------


def test_the_standby_takes_over_when_the_other_one_is_killed(pair: Pair) -> None:
    ensure(pair.serving, "s", mode="server")
    ensure(pair.serving, "c", mode="client", metadata={"a": "b"})
    before = everything(pair.serving)
    hello = pair.kill()
    assert everything(pair.serving) == before
    assert list(hello.startup_ms) == [
        *("state", "sessions", "lock", "sockets", "exit", "uplinks", "ready", "total"),
    ]
    assert "Ready: 2 of 2 ports taken over" in pair.serving.log_tail()


def test_a_chain_of_take_overs(pair: Pair) -> None:
    ensure(pair.serving, "s", mode="server")
    for i in range(5):
        ensure(pair.serving, f"p{i}")
        before = everything(pair.serving)
        pair.kill()
        assert everything(pair.serving) == before
        pair.start_standby()


def test_what_comes_and_goes_is_followed(pair: Pair) -> None:
    for id in ("a", "b", "c"):
        ensure(pair.serving, id, mode="server")
    pair.serving.client.port_remove(id="b")
    ensure(pair.serving, "c", mtu=1400)
    ensure(pair.serving, "d", network="m", mode="server", metadata={"k": "v"})
    pair.serving.client.network_ensure(network="m", mtu=1300)
    # At once: what was acknowledged is there, however little time there was to follow it.
    before = everything(pair.serving)
    pair.kill()
    assert everything(pair.serving) == before


def test_what_was_acknowledged_is_never_lost(pair: Pair) -> None:
    there: set[str] = set()
    for round in range(8):
        unknown = _churn_until_killed(pair, there, round)
        found = {status.port.id for status in pair.serving.client.port_list().ports}
        assert found - unknown == there - unknown
        there = found
        pair.start_standby()


def _churn_until_killed(pair: Pair, there: set[str], round: int) -> set[str]:
    """Make ports until the daemon is killed; return those of unknown fate."""
    acknowledged = threading.Semaphore(0)
    unknown: set[str] = set()
    client = pair.serving.client

    def churn() -> None:
        for i in range(10000):
            id = f"p{round}-{i}"
            unknown.add(id)
            try:
                client.port_ensure(id=id, network="n", create_network=True)
            except errors.DaemonUnreachable:
                return
            unknown.discard(id)
            there.add(id)
            acknowledged.release()

    thread = threading.Thread(target=churn)
    thread.start()
    for _ in range(round + 1):
        assert acknowledged.acquire(timeout=20)
    pid = pair.serving.pid
    pair.serving.kill9()
    # The next call would be the second one's: this one must not make more ports there.
    client.path = "/nowhere"
    thread.join(20)
    assert pair.swapped().took_over.from_pid == pid
    return unknown


def test_sockets_are_answered_all_the_time(pair: Pair) -> None:
    status = ensure(pair.serving, "s", mode="server")
    path = status.port.socket_path
    inode = os.stat(path).st_ino
    with _connecting(path) as outcomes:
        for _ in range(3):
            pair.kill()
            pair.start_standby()
    assert set(outcomes) == {0}
    assert len(outcomes) > 100
    assert os.stat(path).st_ino == inode


@contextlib.contextmanager
def _connecting(path: str) -> Iterator[list[int]]:
    """Connect again and again; collect the error numbers."""
    outcomes: list[int] = []
    ended = threading.Event()

    def connect() -> None:
        while not ended.wait(0.001):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
                error = sock.connect_ex(path)
                # A full backlog: nobody accepts here, but somebody listens.
                outcomes.append(0 if error == errno.EAGAIN else error)

    thread = threading.Thread(target=connect)
    thread.start()
    yield outcomes
    ended.set()
    thread.join()


def test_a_caller_waits_and_is_not_turned_away(pair: Pair) -> None:
    """The control socket has a listener all the time, too."""
    ensure(pair.serving, "s")
    inode = pair.serving.api_socket.stat().st_ino
    os.kill(pair.serving.pid, signal.SIGSTOP)
    answer: list[methods.HelloResult] = []
    asking = threading.Thread(target=lambda: answer.append(pair.standby.client.hello()))
    with socket.socket(socket.AF_UNIX) as early:
        # In the queue of the one that will be killed, and answered by the other one.
        early.connect(str(pair.serving.api_socket))
        asking.start()
        pair.serving.kill9()
        asking.join(20)
        assert answer[0].pid == pair.standby.pid
        early.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {}}\n')
        line = early.makefile("rb").readline()
    assert json.loads(line)["result"]["pid"] == pair.standby.pid
    assert pair.serving.api_socket.stat().st_ino == inode
    pair.serving.wait()


def test_a_control_socket_that_was_removed_is_made_again(pair: Pair) -> None:
    pair.serving.api_socket.unlink()
    pair.serving.kill9()
    wait_until(pair.serving.api_socket.exists, "a new control socket")
    assert pair.swapped().pid == pair.serving.pid


def test_one_that_hangs_is_killed(pair: Pair) -> None:
    ensure(pair.serving, "s", mode="server")
    os.kill(pair.serving.pid, signal.SIGSTOP)
    assert pair.serving.wait() == -signal.SIGKILL
    hung = pair.serving.pid
    pair.swapped()
    (line,) = [x for x in pair.serving.log_tail().splitlines() if "no sign of life" in x]
    assert "CRITICAL" in line
    assert f"process {hung}" in line


def test_watchers_are_told_of_a_take_over(pair: Pair) -> None:
    killed = pair.serving.pid
    pair.kill()
    event = next(pair.serving.client.watch())
    assert (event.kind, event.detail["from_pid"]) == ("took_over", str(killed))


def test_after_a_take_over_everything_works_and_is_stored(pair: Pair) -> None:
    ensure(pair.serving, "a", mode="server")
    (pair.serving.state_dir / "ports.json.bak").unlink()
    pair.kill()
    status = ensure(pair.serving, "b", mode="server")
    for id in ("a", "b"):
        assert stat.S_IMODE(pair.serving.socket_path(id).stat().st_mode) == 0o660
    pair.serving.client.port_remove(id="a")
    assert not pair.serving.socket_path("a").exists()
    before = everything(pair.serving)
    copy = pair.serving.state_dir / "ports.json.bak"
    assert copy.read_bytes() == (pair.serving.state_dir / "ports.json").read_bytes()
    # Alone again, and without a record of the other process.
    pair.serving.restart()
    assert everything(pair.serving) == before
    assert status.port.id == "b"


def test_a_standby_that_dies_is_missed_and_comes_back(pair: Pair) -> None:
    events = pair.serving.client.watch()
    pair.standby.kill9()
    wait_until(lambda: pair.serving.client.hello().standby is None, "its death to be noticed")
    assert next(events).kind == "standby_lost"
    pair.start_standby()
    assert next(events).kind == "standby_in_sync"
    pair.kill()


def test_when_both_die_the_state_is_served_by_whoever_comes_first(pair: Pair) -> None:
    ensure(pair.serving, "s", mode="server")
    before = everything(pair.serving)
    pair.standby.kill9()
    pair.serving.kill9()
    pair.serving.start()
    pair.start_standby()
    assert everything(pair.serving) == before


def test_a_standby_gives_signs_of_life_too(
    make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    pair = make_pair(make_daemon, "fake")
    for who in (pair.standby, pair.serving):
        who._notify.settimeout(10)
        said = [who._notify.recv(1000) for _ in range(6)]
        assert said.count(b"WATCHDOG=1") >= 3
    pair.kill()
    while pair.serving._notify.recv(1000) != b"READY=1\nSTATUS=Serving":
        pass
    assert pair.serving._notify.recv(1000) == b"WATCHDOG=1"


def test_a_standby_ends_in_good_order(pair: Pair) -> None:
    ensure(pair.serving, "s", mode="server")
    assert pair.standby.stop() == 0
    assert pair.serving.socket_path("s").is_socket()
    assert pair.serving.api_socket.is_socket()
    assert pair.serving.client.hello().pid == pair.serving.pid


def test_a_state_that_cannot_be_read_is_not_stood_by_for(
    fake_daemon: Daemon, make_daemon: MakeDaemon
) -> None:
    """It would be taken for an empty one, and every guest be cut off."""
    ensure(fake_daemon, "p")
    for file in fake_daemon.state_dir.glob("ports.json*"):
        file.write_bytes(b"{")
    with pytest.raises(DaemonFailed, match=r"ports\.json is damaged") as caught:
        make_daemon("fake", config=STANDBY, beside=fake_daemon)
    assert "ended with 1 " in str(caught.value)


def test_damage_while_standing_by_is_outlived(pair: Pair) -> None:
    ensure(pair.serving, "p")
    ensure(pair.serving, "q")
    before = everything(pair.serving)
    for file in pair.serving.state_dir.glob("ports.json*"):
        file.write_bytes(b"{")
    pair.kill()
    assert everything(pair.serving) == before
    wait_until(lambda: _stored_twice(pair.serving), "both files to be good again")
    assert "Taking over what was stored before" in pair.serving.log_tail()
    pair.serving.restart()
    assert everything(pair.serving) == before


def _stored_twice(daemon: Daemon) -> bool:
    truth, copy = (daemon.state_dir / name for name in ("ports.json", "ports.json.bak"))
    return truth.read_bytes() == copy.read_bytes() != b"{"


# -- a hand-over ---------------------------------------------------------------


def test_hand_over(pair: Pair) -> None:
    ensure(pair.serving, "s", mode="server")
    before = everything(pair.serving)
    standby = pair.wait_in_sync()
    result = pair.serving.client.handover()
    assert result == methods.HandoverResult(
        pid=pair.serving.pid,
        version=standby.version,
        standby_pid=pair.standby.pid,
        standby_version=standby.version,
    )
    assert pair.serving.wait() == 0
    pair.swapped()
    assert everything(pair.serving) == before


def test_there_and_back(pair: Pair) -> None:
    ensure(pair.serving, "s", mode="server")
    with _connecting(str(pair.serving.socket_path("s"))) as outcomes:
        for _ in range(4):
            pair.hand_over()
            pair.start_standby()
    assert set(outcomes) == {0}


def test_the_command(pair: Pair) -> None:
    program = Path(Daemon.command()[0]).parent / "vhost-brick"
    command = [program, "--api-socket", pair.serving.api_socket, "handover", "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shown = json.loads(done.stdout)
    assert (shown["from_pid"], shown["to_pid"]) == (pair.serving.pid, pair.standby.pid)
    assert shown["took_ms"] > 0
    assert pair.serving.wait() == 0
    pair.swapped()


def test_to_stop_the_one_that_serves_is_a_hand_over(pair: Pair) -> None:
    """An upgrade of its unit, or a restart of it, is none for the guests."""
    ensure(pair.serving, "s", mode="server")
    with _connecting(str(pair.serving.socket_path("s"))) as outcomes:
        assert pair.serving.stop() == 0
        pair.swapped()
    assert set(outcomes) == {0}


def test_without_a_standby_there_is_no_hand_over(fake_daemon: Daemon) -> None:
    ensure(fake_daemon, "s", mode="server")
    with pytest.raises(errors.NoStandby) as caught:
        fake_daemon.client.handover()
    assert "standby = on" in caught.value.hint
    assert fake_daemon.client.port_show(id="s").state == "waiting"


def test_any_daemon_can_be_replaced(make_daemon: MakeDaemon) -> None:
    """One that was started alone, too: an upgrade brings its own standby."""
    first = make_daemon("fake")
    ensure(first, "s", mode="server")
    options = {**STANDBY, "vhost": {"max_queues": 7}}
    second = make_daemon("fake", config=options, beside=first)
    pair = Pair(first, second)
    pair.wait_in_sync()
    first.client.handover()
    assert first.wait() == 0
    pair.swapped()
    assert ensure(second, "t").port.queues == 7
    with pytest.raises(DaemonFailed, match="uses state_dir"):
        first.start()


# -- who may stand by ------------------------------------------------------------


def refused(make_daemon: MakeDaemon, **kwargs: Any) -> str:
    """Start a daemon that ends for good; return what it says."""
    with pytest.raises(DaemonFailed) as caught:
        make_daemon("fake", **kwargs)
    assert f"ended with {REFUSED} " in str(caught.value)
    return str(caught.value)


def test_two_are_enough(pair: Pair, make_daemon: MakeDaemon) -> None:
    said = refused(make_daemon, config=STANDBY, beside=pair.serving)
    assert f"process {pair.standby.pid}) uses state_dir" in said
    assert "Two daemons are enough" in said
    assert pair.wait_in_sync().pid == pair.standby.pid


def test_without_the_option_a_second_one_fails(pair: Pair, make_daemon: MakeDaemon) -> None:
    with pytest.raises(DaemonFailed, match=r"standby = on") as caught:
        make_daemon("fake", beside=pair.serving)
    assert "ended with 1 " in str(caught.value)


def test_nobody_comes_before_the_standby(fake_daemon: Daemon) -> None:
    """It may serve already, and wait for the lock that the dead one has not let go of yet."""
    fake_daemon.kill9()
    standby = Lock(str(fake_daemon.state_dir / "standby.lock"), "it")
    with pytest.raises(DaemonFailed, match=rf"process {os.getpid()}\) uses state_dir"):
        fake_daemon.start()
    state = Lock(str(fake_daemon.state_dir / "lock"), "it")
    for lock in (state, standby):
        lock.release()
    fake_daemon.start()


POOR = """
import sys
from vhost_brick_plugin.datapath import fake
fake.FEATURES = fake.SUPPORTED = fake._VERSION_1 | fake._PROTOCOL
from vhost_brick_plugin.daemon.prelude import main
sys.exit(main())
"""


def poor(beside: Daemon) -> dict[str, Any]:
    """Return what makes a daemon of a version that has less to offer."""
    return {"config": STANDBY, "beside": beside, "program": [sys.executable, "-c", POOR]}


def test_one_that_offers_less_is_refused(make_daemon: MakeDaemon) -> None:
    serving = make_daemon("fake")
    ensure(serving, "vm1")
    said = refused(make_daemon, **poor(serving))
    assert "port vm1: its VM was offered features 0x408000" in said
    assert serving.client.hello().standby is None


def test_one_that_turns_out_to_offer_less_ends(make_daemon: MakeDaemon) -> None:
    serving = make_daemon("fake")
    standby = make_daemon("fake", **poor(serving))
    Pair(serving, standby).wait_in_sync()
    ensure(serving, "vm1")
    assert standby.wait() == REFUSED
    assert "port vm1: its VM was offered features 0x408000" in standby.log_tail()
    wait_until(lambda: serving.client.hello().standby is None, "its end to be noticed")
    with pytest.raises(errors.NoStandby):
        serving.client.handover()


def test_one_with_another_control_socket_is_refused(
    make_daemon: MakeDaemon, short_dir: Path
) -> None:
    serving = make_daemon("fake")
    config = {"daemon": {"standby": "on", "api_socket": short_dir / "other"}}
    said = refused(make_daemon, config=config, beside=serving)
    assert f"has the control socket {short_dir}/other" in said


def test_strangers_at_the_door_do_no_harm(fake_daemon: Daemon, make_daemon: MakeDaemon) -> None:
    door = fake_daemon.state_dir / "handover.sock"
    assert stat.S_IMODE(door.stat().st_mode) == 0o600
    for said in (b"", b"{", b"[]", b"{}", b"\xff" * 100, b"x" * 60000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.settimeout(20)
            stranger.connect(str(door))
            stranger.send(said)
            assert stranger.recv(100) == b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.connect(str(door))
        standby = make_daemon("fake", config=STANDBY, beside=fake_daemon)
        Pair(fake_daemon, standby).wait_in_sync()


def test_a_state_directory_with_a_long_name(
    make_daemon: MakeDaemon, short_dir: Path, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 120)
    config = {"daemon": {"standby": "on", "state_dir": long}}
    serving = make_daemon("fake", config=config)
    standby = make_daemon("fake", config=config, beside=serving)
    Pair(serving, standby).wait_in_sync()
    Pair(serving, standby).kill()
