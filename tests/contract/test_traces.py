# SPDX-License-Identifier: Apache-2.0
"""What ``datapath/base.py`` promises of traces, held against every datapath."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vhost_brick_plugin import errors, model
from vhost_brick_plugin.datapath.base import Datapath
from vhost_brick_plugin.model import Mode, Network, Port, Uplink, UplinkKind
from vhost_brick_plugin.probes import MAX_INSTRUCTIONS, Instruction, Traced

LOAD_HALF, RETURN = 0x28, 0x06
ALL = Instruction(code=RETURN, jt=0, jf=0, k=0xFFFF)
NO_RETURN = Instruction(code=LOAD_HALF, jt=0, jf=0, k=12)
GOES_ON, ENDED = Traced(packets=(), ended=False), Traced(packets=(), ended=True)

AddPort = Callable[[str], None]


@pytest.fixture
def add(datapath: Datapath, directory: Path) -> AddPort:
    """Return a function that adds a port; network ``n`` is there."""
    datapath.network_add(Network(name="n"))

    def add(id: str) -> None:
        port = Port(
            id=id,
            network="n",
            mode=Mode.CLIENT,
            socket_path=str(directory / id),
            mac=model.default_mac(id),
            mtu=1500,
            queues=1,
            security=model.OPEN,
        )
        datapath.port_add(port, datapath.offer(port))

    return add


def test_a_trace_waits_for_packets(datapath: Datapath, add: AddPort) -> None:
    add("a")
    number = datapath.trace_start("vhost/a", 5, ())
    assert datapath.trace_read(number) == GOES_ON
    assert datapath.trace_stop(number)


@pytest.mark.parametrize("brick", ["vhost/b", "a", "vhost/", "", "tap/x"])
def test_of_no_brick(datapath: Datapath, add: AddPort, brick: str) -> None:
    add("a")
    with pytest.raises(errors.BrickNotFound, match=f"no brick {brick}"):
        datapath.trace_start(brick, 1, ())


@pytest.mark.parametrize("brick", ["switch/n", "antispoof/a"])
def test_of_a_brick_without_a_hosts_side(datapath: Datapath, add: AddPort, brick: str) -> None:
    add("a")
    with pytest.raises(errors.BrickNotFound, match="no host's side") as refused:
        datapath.trace_start(brick, 1, ())
    assert "vhost" in refused.value.hint


@pytest.mark.parametrize("filter", [(NO_RETURN,), (ALL, NO_RETURN)])
def test_with_a_filter_that_is_none(
    datapath: Datapath, add: AddPort, filter: tuple[Instruction, ...]
) -> None:
    add("a")
    with pytest.raises(errors.DatapathError, match="vhost/a") as refused:
        datapath.trace_start("vhost/a", 1, filter)
    assert "filter" in refused.value.hint
    # It left nothing behind.
    assert datapath.trace_stop(datapath.trace_start("vhost/a", 1, ()))


def test_with_the_longest_filter(datapath: Datapath, add: AddPort) -> None:
    add("a")
    filter = (NO_RETURN,) * (MAX_INSTRUCTIONS - 1) + (ALL,)
    assert datapath.trace_stop(datapath.trace_start("vhost/a", 1, filter))


def test_a_brick_is_traced_once_at_a_time(datapath: Datapath, add: AddPort) -> None:
    add("a")
    add("b")
    number = datapath.trace_start("vhost/a", 1, ())
    with pytest.raises(errors.DatapathError, match="vhost/a"):
        datapath.trace_start("vhost/a", 1, ())
    other = datapath.trace_start("vhost/b", 1, ())
    assert datapath.trace_stop(number)
    again = datapath.trace_start("vhost/a", 1, ())
    assert len({number, other, again}) == 3
    assert datapath.trace_read(other) == GOES_ON
    assert datapath.trace_stop(other)
    assert datapath.trace_stop(again)


def test_it_ends_with_its_brick(datapath: Datapath, add: AddPort) -> None:
    add("a")
    add("b")
    numbers = [datapath.trace_start(f"vhost/{id}", 2, ()) for id in "ab"]
    datapath.port_remove("a")
    assert [datapath.trace_read(number) for number in numbers] == [ENDED, GOES_ON]
    # Another one of that name is another one.
    add("a")
    assert datapath.trace_read(numbers[0]) == ENDED
    again = datapath.trace_start("vhost/a", 1, ())
    assert datapath.trace_read(again) == GOES_ON
    for number in (*numbers, again):
        assert datapath.trace_stop(number)


def test_it_ends_with_the_last_network_of_a_trunk(datapath: Datapath) -> None:
    red, green = (Uplink(kind=UplinkKind.NIC, name="ring0", vlan=vlan) for vlan in (5, 6))
    for network, uplink in (("red", red), ("green", green)):
        datapath.network_add(Network(name=network))
        datapath.uplink_add(network, uplink)
    number = datapath.trace_start("nic/ring0", 1, ())
    datapath.uplink_remove("red", red)
    assert datapath.trace_read(number) == GOES_ON
    datapath.uplink_remove("green", green)
    assert datapath.trace_read(number) == ENDED
    assert datapath.trace_stop(number)


def test_stop_forgets(datapath: Datapath, add: AddPort) -> None:
    add("a")
    number = datapath.trace_start("vhost/a", 1, ())
    assert datapath.trace_stop(number)
    assert not datapath.trace_stop(number)
    with pytest.raises(errors.DatapathError, match=f"no trace {number}"):
        datapath.trace_read(number)


def test_a_port_that_is_traced_can_be_removed_and_its_trace_be_stopped_after_it(
    datapath: Datapath, add: AddPort
) -> None:
    add("a")
    number = datapath.trace_start("vhost/a", 1, ())
    datapath.port_remove("a")
    assert datapath.trace_stop(number)
    assert not datapath.trace_stop(number)
