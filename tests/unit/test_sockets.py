# SPDX-License-Identifier: Apache-2.0
"""Socket paths in the file system."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon import sockets
from vhost_brick_plugin.daemon.settings import Access
from vhost_brick_plugin.model import Mode

BOTH = pytest.mark.parametrize("mode", list(Mode))


@pytest.fixture
def path(short_dir: Path) -> Path:
    return short_dir / "p"


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(1)
        yield sock


def stale(path: Path) -> None:
    """Leave what a killed server leaves."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


@BOTH
def test_nothing_there(path: Path, mode: Mode) -> None:
    sockets.prepare(str(path), mode)
    assert not path.exists()


@BOTH
def test_missing_directory(path: Path, mode: Mode) -> None:
    with pytest.raises(errors.InvalidSocketPath, match=r"directory .* does not exist"):
        sockets.check(str(path / "x" / "y"), mode)


@BOTH
def test_a_file_for_a_directory(path: Path, mode: Mode) -> None:
    path.touch()
    with pytest.raises(errors.InvalidSocketPath, match=r"directory .* does not exist"):
        sockets.check(str(path / "x"), mode)


@BOTH
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda p: p.touch(), "a regular file"),
        (lambda p: p.mkdir(), "a directory"),
        (lambda p: p.symlink_to("/nowhere"), "a symbolic link"),
        (os.mkfifo, "a special file"),
    ],
    ids=["file", "directory", "link", "fifo"],
)
def test_what_is_no_socket_stays_and_is_refused(path: Path, mode: Mode, make, name: str) -> None:
    make(path)
    with pytest.raises(errors.InvalidSocketPath, match=name):
        sockets.prepare(str(path), mode)
    assert os.path.lexists(path)


def test_a_link_to_a_socket_is_refused_too(path: Path) -> None:
    stale(path)
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(errors.InvalidSocketPath, match="symbolic link"):
        sockets.prepare(str(link), Mode.CLIENT)


def test_a_stale_socket_makes_way_for_a_server(path: Path) -> None:
    stale(path)
    sockets.check(str(path), Mode.SERVER)
    assert path.is_socket()
    sockets.prepare(str(path), Mode.SERVER)
    assert not path.exists()


def test_a_client_never_removes_a_socket(path: Path) -> None:
    stale(path)
    sockets.prepare(str(path), Mode.CLIENT)
    assert path.is_socket()


def test_a_socket_with_somebody_behind_it_stays(path: Path, listener: socket.socket) -> None:
    with pytest.raises(errors.SocketPathInUse, match="another program listens"):
        sockets.prepare(str(path), Mode.SERVER)
    assert path.is_socket()
    sockets.prepare(str(path), Mode.CLIENT)


def test_a_listener_too_busy_to_answer_is_somebody(path: Path, listener: socket.socket) -> None:
    callers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)]
    while callers[-1].connect_ex(str(path)) == 0:
        callers.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
    with pytest.raises(errors.SocketPathInUse):
        sockets.check(str(path), Mode.SERVER)
    for caller in callers:
        caller.close()


def test_a_datagram_socket_is_somebody(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        with pytest.raises(errors.SocketPathInUse):
            sockets.check(str(path), Mode.SERVER)


def test_grant(path: Path, listener: socket.socket) -> None:
    root = os.geteuid() == 0
    access = Access(uid=12345 if root else -1, gid=12346 if root else -1, mode=0o620)
    sockets.grant(str(path), access)
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o620
    if root:
        assert (status.st_uid, status.st_gid) == (12345, 12346)


def test_grant_is_not_led_astray_by_a_link(path: Path, short_dir: Path) -> None:
    victim = short_dir / "victim"
    victim.touch(mode=0o600)
    path.symlink_to(victim)
    with pytest.raises(errors.DatapathError):
        sockets.grant(str(path), Access(mode=0o666))
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_nor_by_a_link_to_another_socket(path: Path, short_dir: Path) -> None:
    victim = short_dir / "victim"
    stale(victim)
    victim.chmod(0o600)
    path.symlink_to(victim)
    with pytest.raises(errors.DatapathError):
        sockets.grant(str(path), Access(mode=0o666))
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_grant_of_what_is_gone(path: Path) -> None:
    with pytest.raises(errors.DatapathError, match="No such file"):
        sockets.grant(str(path), Access())


def test_make_directory(short_dir: Path) -> None:
    wanted = short_dir / "a" / "b"
    old = os.umask(0o077)
    try:
        sockets.make_directory(str(wanted), 0o2770, Access())
    finally:
        os.umask(old)
    assert stat.S_IMODE(wanted.stat().st_mode) == 0o2770
    assert stat.S_IMODE(wanted.parent.stat().st_mode) == 0o755


def test_make_directory_leaves_one_that_exists(short_dir: Path) -> None:
    wanted = short_dir / "a"
    wanted.mkdir(mode=0o711)
    sockets.make_directory(str(wanted), 0o700, Access())
    assert stat.S_IMODE(wanted.stat().st_mode) == 0o711


def test_make_directory_where_it_cannot_be(short_dir: Path) -> None:
    (short_dir / "file").touch()
    with pytest.raises(errors.ConfigError, match="File exists"):
        sockets.make_directory(str(short_dir / "file" / "a"), 0o700, Access())


def test_same_looks_through_links_between_directories(short_dir: Path) -> None:
    (short_dir / "run").mkdir()
    (short_dir / "var").symlink_to(short_dir / "run")
    assert sockets.same(f"{short_dir}/var/p", f"{short_dir}/run/p")
    assert not sockets.same(f"{short_dir}/var/p", f"{short_dir}/run/q")
    assert not sockets.same(f"{short_dir}/p", f"{short_dir}/run/p")
