# SPDX-License-Identifier: Apache-2.0
"""What ``datapath/base.py`` promises of captures, held against every datapath.

No packet passes here: the tests in ``tests/functional`` have packets.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
from collections.abc import Iterator

import pytest
from scapy.utils import RawPcapNgReader

from vhost_brick_plugin import errors, model
from vhost_brick_plugin.cli.pcapng import Totals, totals
from vhost_brick_plugin.datapath.base import Datapath
from vhost_brick_plugin.model import Mode, Network, Port, PortSecurity, SecurityMode
from vhost_brick_plugin.probes import CaptureOptions, Instruction

TIMEOUT = 10.0
NOTHING = Totals(seen=0, lost=0, captured=0)
ETHERNET = 1

REJECT_ALL = Instruction(code=0x06, jt=0, jf=0, k=0)
LOAD = Instruction(code=0x28, jt=0, jf=0, k=12)
"""Half a program: it does not return."""


@pytest.fixture(autouse=True)
def _port(datapath: Datapath, directory: os.PathLike[str]) -> None:
    """There is a port "p" with port security."""
    datapath.network_add(Network(name="n"))
    port = Port(
        id="p",
        network="n",
        mode=Mode.SERVER,
        socket_path=f"{directory}/p",
        mac=model.default_mac("p"),
        mtu=1500,
        queues=1,
        security=PortSecurity(mode=SecurityMode.CLOSED),
    )
    datapath.port_add(port, datapath.offer(port))


class Reader:
    """The other end of a capture that is delivered."""

    def __init__(self, datapath: Datapath, number: int) -> None:
        ours, self._theirs = socket.socketpair()
        with ours:
            datapath.capture_deliver(number, os.dup(ours.fileno()))
            # Somebody else, as the daemon, may have the socket, too: it ends all the same.
            self._kept = ours.dup()
        self._theirs.settimeout(TIMEOUT)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()
        self._theirs.close()

    def begin(self) -> bytes:
        return self._theirs.recv(65536)

    def all(self) -> bytes:
        """Return what comes up to the end."""
        chunks = list(iter(self.begin, b""))
        return b"".join(chunks)


@contextlib.contextmanager
def delivered(datapath: Datapath, brick: str, **options: object) -> Iterator[tuple[int, Reader]]:
    """Capture at *brick* while the block runs; the number is gone after it."""
    number = datapath.capture_start(brick, CaptureOptions(**options))
    with Reader(datapath, number) as reader:
        yield number, reader
    datapath.capture_stop(number)


def interface(data: bytes) -> tuple[str, int]:
    """Return name and snap length of the interface in a capture without packets."""
    reader = RawPcapNgReader(io.BytesIO(data))
    assert list(reader) == []
    ((link, snaplen, options),) = reader.interfaces
    assert link == ETHERNET
    return options["name"].decode(), snaplen


def test_it_ends_when_it_is_stopped(datapath: Datapath) -> None:
    with delivered(datapath, "vhost/p", snaplen=96) as (number, reader):
        assert datapath.capture_stop(number)
        data = reader.all()
    assert interface(data) == ("vhost/p", 96)
    assert totals(data) == NOTHING
    assert not datapath.capture_stop(number)


def test_its_head_does_not_wait_for_packets(datapath: Datapath) -> None:
    with delivered(datapath, "vhost/p") as (_, reader):
        assert interface(reader.begin()) == ("vhost/p", 0)


def test_it_is_stopped_before_it_is_delivered(datapath: Datapath) -> None:
    number = datapath.capture_start("vhost/p", CaptureOptions())
    assert datapath.capture_stop(number)
    assert_consumed(datapath, number)


def assert_consumed(datapath: Datapath, number: int) -> None:
    """See that a capture that is not there takes its descriptor along."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(TIMEOUT)
        fd = ours.detach()
        with pytest.raises(errors.DatapathError, match=f"no capture {number}"):
            datapath.capture_deliver(number, fd)
        assert theirs.recv(1) == b""


def test_a_number_that_never_was(datapath: Datapath) -> None:
    assert_consumed(datapath, 4711)
    assert not datapath.capture_stop(4711)


def test_it_ends_by_time(datapath: Datapath) -> None:
    with delivered(datapath, "vhost/p", seconds=0.05) as (_, reader):
        assert totals(reader.all()) == NOTHING


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_ends_with_its_brick(datapath: Datapath, when: str) -> None:
    number = datapath.capture_start("vhost/p", CaptureOptions())
    if when == "before":
        datapath.port_remove("p")
    with Reader(datapath, number) as reader:
        if when == "after":
            assert reader.begin()
            datapath.port_remove("p")
        assert totals(reader.all()) == NOTHING
    assert datapath.capture_stop(number)


def test_it_ends_when_its_reader_leaves(datapath: Datapath) -> None:
    with delivered(datapath, "vhost/p") as (_, reader):
        assert reader.begin()
    # The graph is as it was, and another one sees the same.
    with delivered(datapath, "vhost/p") as (_, reader):
        assert reader.begin()


def test_several_at_a_brick(datapath: Datapath) -> None:
    with (
        delivered(datapath, "vhost/p") as (one, first),
        delivered(datapath, "vhost/p", filter=(REJECT_ALL,)) as (other, second),
    ):
        assert one != other
        datapath.capture_stop(one)
        assert totals(first.all()) == NOTHING
        assert second.begin()
        datapath.capture_stop(other)
        assert totals(second.all()) == NOTHING


@pytest.mark.parametrize("brick", ["vhost/q", "p", "nope/p", ""])
def test_a_brick_that_is_not_there(datapath: Datapath, brick: str) -> None:
    with pytest.raises(errors.BrickNotFound, match="no brick"):
        datapath.capture_start(brick, CaptureOptions())


@pytest.mark.parametrize("brick", ["switch/n", "antispoof/p"])
def test_a_brick_without_a_hosts_side(datapath: Datapath, brick: str) -> None:
    assert brick in {node.name for node in datapath.graph().nodes}
    with pytest.raises(errors.BrickNotFound, match=f"{brick} has no host's side") as caught:
        datapath.capture_start(brick, CaptureOptions())
    assert "vhost" in caught.value.hint


def test_a_filter_that_is_no_program(datapath: Datapath) -> None:
    with pytest.raises(errors.DatapathError, match=os.strerror(errno.EINVAL)) as caught:
        datapath.capture_start("vhost/p", CaptureOptions(filter=(LOAD,)))
    assert "filter" in caught.value.hint
