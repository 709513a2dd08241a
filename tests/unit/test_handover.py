# SPDX-License-Identifier: Apache-2.0
"""The parts of a hand-over that need no second daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.unit.support import entry, state
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon import handshake, server
from vhost_brick_plugin.daemon.checks import check_offers
from vhost_brick_plugin.daemon.handshake import Introduction, Welcome
from vhost_brick_plugin.daemon.other import Other
from vhost_brick_plugin.daemon.settings import KEEP, Access
from vhost_brick_plugin.daemon.watchers import Hub
from vhost_brick_plugin.datapath.base import Abilities

INTRODUCTION = Introduction(
    handover=1,
    version="1.2",
    pid=7,
    datapath="fake",
    api_socket="/a",
    abilities=Abilities(features=1 << 63 | 1, queues=64),
)


# -- what is said --------------------------------------------------------------


def pair() -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.settimeout(10)
    return ends


def test_both_sides_understand_each_other() -> None:
    a, b = pair()
    with a, b:
        handshake.send(a, INTRODUCTION)
        assert handshake.receive(b, Introduction) == (INTRODUCTION, None)
        refused = errors.to_wire(errors.OfferShrinks("no"))
        handshake.send(b, Welcome(version="1.3", pid=8, refused=refused), a.fileno())
        welcome, fd = handshake.receive(a, Welcome)
        assert welcome.refused is not None
        assert isinstance(errors.from_wire(dict(welcome.refused)), errors.OfferShrinks)
        assert fd is not None
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_a_newer_version_may_say_more() -> None:
    a, b = pair()
    with a, b:
        a.send(b'{"version": "9", "pid": 1, "mood": "good"}')
        welcome, _ = handshake.receive(b, Welcome)
        assert welcome == Welcome(version="9", pid=1)


@pytest.mark.parametrize("said", [b"{", b"[]", b'{"version": 1, "pid": 1}', b"\xff"])
def test_nonsense_is_an_error_and_its_descriptor_is_closed(said: bytes) -> None:
    a, b = pair()
    with a, b:
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(a, [said], [a.fileno()])
        with pytest.raises(errors.InvalidParams):
            handshake.receive(b, Welcome)
        assert len(os.listdir("/proc/self/fd")) == before


def test_silence_is_an_error_too() -> None:
    a, b = pair()
    with a, b:
        b.settimeout(0.01)
        with pytest.raises(TimeoutError):
            handshake.receive(b, Welcome)
        a.close()
        with pytest.raises(ConnectionResetError):
            handshake.receive(b, Welcome)


def test_other_users_are_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair()
    with a, b:
        assert handshake.check_peer(a) == os.getpid()
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(errors.NotPermitted, match="same user"):
            handshake.check_peer(a)


def test_the_door_is_for_us_alone(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 200)
    directory.mkdir()
    door = directory / handshake.SOCKET
    for _ in range(2):  # And a stale one is no obstacle.
        listener = handshake.listen(str(directory))
        assert stat.S_IMODE(door.stat().st_mode) == 0o600
        handshake.connect(str(directory)).close()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            handshake.connect(str(directory))
    handshake.unlink(str(directory))
    assert not door.exists()
    handshake.unlink(str(directory))


# -- the other process ---------------------------------------------------------


def test_the_end_of_another_process() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    other = Other(child.pid)
    assert not other.wait(0)
    os.kill(child.pid, signal.SIGSTOP)
    other.kill()
    assert other.wait(10)
    assert child.wait() == -signal.SIGKILL
    other.kill()
    with pytest.raises(ProcessLookupError):
        Other(child.pid)


# -- who is fit ----------------------------------------------------------------


def test_offers_that_can_be_kept() -> None:
    check_offers(state(entry("a", queues=4)), Abilities(features=1 << 32 | 1, queues=4), "it")


@pytest.mark.parametrize(
    ("abilities", "what"),
    [
        (Abilities(features=1, queues=4), "features 0x100000000 that it does not have"),
        (Abilities(features=1 << 32, queues=3), "4 queue pairs, and it has at most 3"),
    ],
)
def test_offers_that_cannot_be_kept(abilities: Abilities, what: str) -> None:
    with pytest.raises(errors.OfferShrinks, match=f"port b: its VM was offered {what}"):
        check_offers(state(entry("b", queues=4)), abilities, "it")


# -- what goes on ----------------------------------------------------------------


def test_the_control_socket_goes_on(short_dir: Path) -> None:
    path = short_dir / "api"
    with server.listen(str(path), Access(mode=0o660)) as old:
        inode = path.stat().st_ino
        new = server.resume(old.dup(), str(path), Access(gid=KEEP, mode=0o600))
        assert path.stat().st_ino == inode
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with new, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        new.accept()[0].close()


def test_a_control_socket_that_is_gone_is_made_again(short_dir: Path) -> None:
    path = short_dir / "api"
    with server.listen(str(path), Access()) as old:
        path.unlink()
        new = server.resume(old, str(path), Access(mode=0o600))
    with new, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_late_watchers_hear_of_what_was_before_them() -> None:
    async def watch() -> list[str]:
        hub = Hub()
        hub.greet_with(methods.Event(time=1.0, kind="took_over"))
        late = hub.subscribe(None)
        of_a_port = hub.subscribe("p")
        hub.greet_with(None)
        later = hub.subscribe(None)
        hub.publish(methods.Event(time=2.0, kind="port_added", port="p"))
        return [(await s.next()).kind for s in (late, late, of_a_port, later)]

    assert asyncio.run(watch()) == ["took_over", "port_added", "port_added", "port_added"]
