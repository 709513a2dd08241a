# SPDX-License-Identifier: Apache-2.0
"""Connections: too many, too fast, too short, or by the wrong people."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.frontend.protocol import Disconnected
from tests.functional.daemon import Config
from tests.functional.hostile.stage import Stage, Target
from tests.functional.waiting import TIMEOUT

NOBODY = pwd.getpwnam("nobody").pw_uid

FLOOD_TIMEOUT = 10.0


def dial(path: str) -> socket.socket | None:
    """Connect without waiting: None if the backlog is full."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(path)
    except BlockingIOError:
        sock.close()
        return None
    return sock


def test_connect_and_close_in_a_tight_loop(stage: Stage) -> None:
    """Who is connected already does not feel it either."""
    with stage.attack() as port:
        guest = port.connect()
        deadline = time.monotonic() + FLOOD_TIMEOUT
        newcomer = False
        while "connection_flood" not in port.faults():
            assert time.monotonic() < deadline, "connections are taken without end"
            for _ in range(50):
                if sock := dial(port.path):
                    sock.close()
            if not newcomer:
                stage.newcomer()
                newcomer = True
        port.exchange(guest)


@pytest.fixture
def held_open() -> Iterator[list[socket.socket]]:
    socks: list[socket.socket] = []
    yield socks
    for sock in socks:
        sock.close()


def test_2000_connections_kept_open(stage: Stage, held_open: list[socket.socket]) -> None:
    with stage.attack() as port:
        before = stage.held()[0]
        for _ in range(2000):
            if sock := dial(port.path):
                held_open.append(sock)
        stage.newcomer()
        port.wait_fault("too_many_sessions")
        # Those beyond the limit cost the daemon nothing.
        assert stage.held()[0] - before < 200
        while held_open:
            held_open.pop().close()


def test_frontend_that_accepts_and_closes_at_once(stage: Stage) -> None:
    """The brick connects: ever less often, until somebody is there in earnest."""
    with stage.attack(mode="client") as port:
        guest = port.guest()
        met = []
        deadline = time.monotonic() + FLOOD_TIMEOUT
        while "frontend_leaves" not in port.faults() or len(met) < 8:
            assert time.monotonic() < deadline
            guest.open()
            met.append(time.monotonic())
            guest.disconnect()
        # Pauses may be longer than they should on a busy machine, never shorter.
        assert met[-1] - met[-2] > 4 * 0.02


@pytest.mark.parametrize("mode", ["server", "client"])
def test_bad_message_again_and_again(stage: Stage, mode: str) -> None:
    with stage.attack(mode=mode) as port:
        guest = port.guest()
        for _ in range(4):
            guest.open()
            with contextlib.suppress(Disconnected):
                guest.peer.send_raw(99)
            guest.wait_disconnect()
        port.wait_fault("bad_message")


# -- whose they are ------------------------------------------------------------


@pytest.fixture
def guarded_stage(make_stage: Callable[[Config], Stage]) -> Stage:
    """A stage whose sockets anybody may open, and only root's frontends are served."""
    return make_stage({"vhost": {"peer_users": "root", "socket_mode": "0666"}})


def as_nobody(action: Callable[[], None]) -> None:
    """Run *action* in a child process of another user; fail if it does."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
            status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def closed_to_us(port: Target) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(port.path)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""


def test_peer_of_another_user(guarded_stage: Stage) -> None:
    with guarded_stage.attack() as port:
        as_nobody(lambda: closed_to_us(port))
        port.wait_fault("peer_denied")


def test_peer_of_another_user_listens(guarded_stage: Stage) -> None:
    """The socket is another user's: we may connect, and go away again."""
    with guarded_stage.attack(mode="client") as port:
        os.chmod(guarded_stage.daemon.socket_dir, 0o777)

        def listen() -> None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(TIMEOUT)
                sock.bind(port.path)
                sock.listen(8)
                with sock.accept()[0] as connection:
                    connection.settimeout(TIMEOUT)
                    with contextlib.suppress(ConnectionResetError):
                        assert connection.recv(1) == b""
            os.unlink(port.path)

        as_nobody(listen)
        port.wait_fault("peer_denied")


def test_anybody_whom_the_file_lets_in(make_stage: Callable[[Config], Stage]) -> None:
    """With no list the file's mode decides alone."""
    stage = make_stage({"vhost": {"socket_mode": "0666"}})
    with stage.attack() as port:

        def answered() -> None:
            guest = port.guest(timeout=TIMEOUT)
            guest.open().get_features()

        as_nobody(answered)
        assert "peer_denied" not in port.faults()
