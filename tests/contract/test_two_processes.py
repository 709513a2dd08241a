# SPDX-License-Identifier: Apache-2.0
"""One datapath that follows another one, and takes over when that one is gone.

What sessions go through is in ``tests/functional``, where there are frontends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import OPTIONS
from tests.contract.puppet import Puppet
from tests.functional.waiting import wait_until
from vhost_brick_plugin import errors, model
from vhost_brick_plugin.datapath.base import Datapath, Followed
from vhost_brick_plugin.model import Mode, Network, Port

STANDBY = dataclasses.replace(OPTIONS, standby=True)
NETWORK = Network(name="n")

Start = Callable[..., Puppet]


@pytest.fixture
def start(class_path: str) -> Iterator[Start]:
    """Return a function that starts a datapath in a process of its own."""
    with contextlib.ExitStack() as stack:

        def start(options: Any = OPTIONS, *fds: int) -> Puppet:
            puppet = stack.enter_context(Puppet(class_path, options, fds))
            puppet.network_add(NETWORK)
            return puppet

        yield start


class Pair:
    """A datapath that serves and one that stands by."""

    def __init__(self, start: Start) -> None:
        self.ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        a, b = (end.fileno() for end in self.ends)
        self.serving = start(OPTIONS, a, b)
        self.standby = start(STANDBY, a, b)

    def add(self, port: Port) -> None:
        """Add *port* to both, as daemons would."""
        for one in (self.serving, self.standby):
            one.port_add(port, one.offer(port))

    def follow(self) -> None:
        """Let one follow the other; each of them has the only copy of its end."""
        mine, its = (end.fileno() for end in self.ends)
        self.serving.close(its)
        self.standby.close(mine)
        for end in self.ends:
            end.close()
        self.serving.lead(mine)
        self.standby.follow(its)
        wait_until(self.serving.leading, "the standby to know all")


@pytest.fixture
def pair(start: Start) -> Pair:
    return Pair(start)


def port(directory: Path, id: str = "p", mode: Mode = Mode.SERVER) -> Port:
    return Port(
        id=id,
        network="n",
        mode=mode,
        socket_path=str(directory / id),
        mac=model.default_mac(id),
        mtu=1500,
        queues=1,
        security=model.OPEN,
    )


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(path) == 0


def test_it_can_serve_what_it_offers(datapath: Datapath, directory: Path) -> None:
    offer, able = datapath.offer(port(directory)), datapath.abilities()
    assert not offer.features & ~able.features
    assert able.queues == model.MAX_QUEUE_PAIRS


def test_who_serves_has_nothing_to_take_over(datapath: Datapath) -> None:
    with pytest.raises(errors.DatapathError):
        datapath.take_over()


def test_nobody_leads_by_itself(datapath: Datapath) -> None:
    assert datapath.leading() is False


def test_a_standby_leaves_sockets_alone(start: Start, directory: Path) -> None:
    standby = start(STANDBY)
    server, client = port(directory, "s"), port(directory, "c", Mode.CLIENT)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as qemu:
        qemu.bind(client.socket_path)
        qemu.listen()
        for one in (server, client):
            standby.port_add(one, standby.offer(one))
        assert not os.path.lexists(server.socket_path)
        with pytest.raises(BlockingIOError):
            qemu.accept()
        standby.port_remove("s")
        standby.port_remove("c")
        assert os.path.lexists(client.socket_path)
    assert standby.followed() == Followed(in_sync=False, silence_s=None, sessions=0)


def test_one_that_followed_nobody_starts_from_nothing(start: Start, directory: Path) -> None:
    standby = start(STANDBY)
    server = port(directory)
    standby.port_add(server, standby.offer(server))
    result = standby.take_over()
    assert (result.adopted, result.closed) == (0, 0)
    assert answers(server.socket_path)
    with pytest.raises(errors.DatapathError):
        standby.take_over()


def test_a_stale_socket_is_replaced(start: Start, directory: Path) -> None:
    standby = start(STANDBY)
    server = port(directory)
    standby.port_add(server, standby.offer(server))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(server.socket_path)
        dead.listen()
    standby.take_over()
    assert answers(server.socket_path)


def test_following(pair: Pair, directory: Path) -> None:
    pair.add(port(directory))
    pair.follow()
    followed = wait_until(lambda: _in_sync(pair), "the standby to say so too")
    assert followed.silence_s is not None
    assert followed.silence_s < 2
    assert followed.sessions == 0


def _in_sync(pair: Pair) -> Followed | None:
    followed: Followed = pair.standby.followed()
    return followed if followed.in_sync else None


def test_a_standby_that_dies_is_missed(pair: Pair) -> None:
    pair.follow()
    pair.standby.kill()
    wait_until(lambda: not pair.serving.leading(), "its death to be noticed")


def test_whoever_dies_is_missed(pair: Pair) -> None:
    pair.follow()
    wait_until(lambda: _in_sync(pair), "the standby to be in sync")
    pair.serving.kill()
    wait_until(lambda: pair.standby.followed().silence_s is None, "its death to be noticed")
    assert not pair.standby.followed().in_sync


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_socket_is_never_without_a_listener(
    pair: Pair, directory: Path, when: str
) -> None:
    server = port(directory)
    if when == "before":
        pair.add(server)
    pair.follow()
    if when == "after":
        pair.add(server)
    inode = os.stat(server.socket_path).st_ino
    wait_until(lambda: _in_sync(pair), "the standby to be in sync")
    pair.serving.kill()
    # The standby has a copy of the listening socket, so a frontend need not try again.
    wait_until(lambda: answers(server.socket_path), "the copy")
    pair.standby.take_over()
    assert answers(server.socket_path)
    assert os.stat(server.socket_path).st_ino == inode


def test_a_port_that_is_gone_stays_so(pair: Pair, directory: Path) -> None:
    server = port(directory)
    pair.add(server)
    pair.follow()
    for one in (pair.serving, pair.standby):
        one.port_remove("p")
    assert not os.path.lexists(server.socket_path)
    pair.serving.kill()
    result = pair.standby.take_over()
    assert (result.adopted, result.closed) == (0, 0)
    assert not os.path.lexists(server.socket_path)


def test_to_let_go_closes_nothing(pair: Pair, directory: Path) -> None:
    server = port(directory)
    pair.add(server)
    pair.follow()
    wait_until(lambda: _in_sync(pair), "the standby to be in sync")
    pair.serving.let_go()
    pair.standby.take_over()
    pair.serving.kill()
    assert answers(server.socket_path)
