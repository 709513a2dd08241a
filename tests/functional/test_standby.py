# SPDX-License-Identifier: Apache-2.0
"""Guests notice nothing: real datapaths, of which one stands by."""

from __future__ import annotations

import array
import fcntl
import os
import signal
import termios
from collections.abc import Callable, Sequence

import pytest

from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import VUser
from tests.functional.daemon import Daemon
from tests.functional.exchange import (
    ensure_port,
    frame,
    mac,
    pass_frame,
    receive_frame,
    wait_traffic,
)
from tests.functional.pair import Pair, make_pair
from tests.functional.waiting import wait_until
from vhost_brick_plugin.api import methods

MakeDaemon = Callable[..., Daemon]
MakeFrontend = Callable[..., Frontend]

MODES = ("client", "server")
BOTH = pytest.mark.parametrize("mode", MODES)
RATE = 2000
ON_THE_WAY = 64
"""Frames that are sent and not yet received; less than a ring."""
SENT_TWICE = 256
"""A whole ring: what a killed process had sent on but not yet returned is sent again."""


@pytest.fixture
def pair(make_daemon: MakeDaemon) -> Pair:
    return make_pair(make_daemon, "dpdk")


@pytest.fixture
def plug(pair: Pair, make_frontend: MakeFrontend) -> Callable[..., list[Frontend]]:
    """Return a function that makes ports with VMs on them, connected."""

    def plug(modes: Sequence[str], **kwargs: object) -> list[Frontend]:
        vms = []
        for i, mode in enumerate(modes):
            path = ensure_port(pair.serving, f"p{i}", mode, i)
            vm = make_frontend(path, listen=mode == "client", **kwargs)
            vm.connect()
            vms.append(vm)
        return vms

    return plug


def exchange(vms: Sequence[Frontend], what: bytes) -> None:
    """Let each VM send a frame to the next one, once: nothing may be lost."""
    for vm in vms:
        vm.receive_all()  # Rings may be full of what was flooded.
    for i, vm in enumerate(vms):
        to = (i + 1) % len(vms)
        wanted = frame(to, i, what)
        vm.send(wanted)
        receive_frame(vms[to], wanted)


def begin(vms: Sequence[Frontend]) -> None:
    """Wait until all VMs can talk, and all of them are known to the switch."""
    for i, vm in enumerate(vms):
        pass_frame(vm, vms[(i + 1) % len(vms)], frame((i + 1) % len(vms), i, b"first"))


def adopted(hello: methods.HelloResult, count: int) -> bool:
    assert hello.took_over is not None
    return (hello.took_over.adopted, hello.took_over.closed) == (count, 0)


def still_connected(vms: Sequence[Frontend]) -> bool:
    return all(vm.connected for vm in vms)


# -- a crash -----------------------------------------------------------------


@BOTH
def test_a_kill_closes_no_connection_and_loses_no_frame(
    pair: Pair, plug: Callable[..., list[Frontend]], mode: str
) -> None:
    vms = plug([mode] * 2)
    begin(vms)
    pair.wait_in_sync()
    assert adopted(pair.kill(), 2)
    exchange(vms, b"after")
    assert still_connected(vms)
    for id in ("p0", "p1"):
        status = pair.serving.client.port_show(id=id)
        assert status.state == "running"
        assert status.fault is None
        assert len(status.sessions) == 1


@pytest.mark.timeout(300)
def test_a_hundred_ports_notice_nothing(pair: Pair, plug: Callable[..., list[Frontend]]) -> None:
    vms = plug([MODES[i % 2] for i in range(100)])
    begin(vms)
    pair.wait_in_sync()
    for round in (b"one", b"two"):
        assert adopted(pair.kill(), 100)
        exchange(vms, round)
        assert still_connected(vms)
        pair.start_standby()


@BOTH
def test_what_is_sent_while_nobody_serves_arrives(
    pair: Pair, plug: Callable[..., list[Frontend]], mode: str
) -> None:
    vms = plug([mode] * 2)
    begin(vms)
    pair.wait_in_sync()
    # The standby cannot take over before it goes on.
    os.kill(pair.standby.pid, signal.SIGSTOP)
    pair.serving.kill9()
    frames = [frame(1, 0, b"%d" % i) for i in range(100)]
    for one in frames:
        vms[0].send(one)
    os.kill(pair.standby.pid, signal.SIGCONT)
    assert [vms[1].receive() for _ in frames] == frames
    pair.swapped()
    assert still_connected(vms)


def test_a_chain_of_take_overs(pair: Pair, plug: Callable[..., list[Frontend]]) -> None:
    vms = plug(MODES)
    begin(vms)
    for i in range(5):
        pair.wait_in_sync()
        assert adopted(pair.kill(), 2)
        exchange(vms, b"%d" % i)
        pair.start_standby()
    assert still_connected(vms)


@BOTH
def test_sessions_that_come_and_go_are_followed(
    pair: Pair, plug: Callable[..., list[Frontend]], mode: str
) -> None:
    vms = plug([mode] * 4)
    begin(vms)
    # One left and came back, one had another guest boot, one is gone with its port.
    vms[0].disconnect()
    vms[0].connect()
    vms[1].stop()
    vms[1].start()
    pair.serving.client.port_remove(id="p3")
    vms[3].wait_disconnect()
    vms = vms[:3]
    begin(vms)
    pair.wait_in_sync()
    assert adopted(pair.kill(), 3)
    exchange(vms, b"after")
    assert still_connected(vms)


def test_many_sessions_of_one_port(pair: Pair, make_frontend: MakeFrontend) -> None:
    path = ensure_port(pair.serving, "p", "server", 0)
    vms = [make_frontend(path) for _ in range(8)]
    for vm in vms:
        vm.connect()
    begin(vms)
    pair.wait_in_sync()
    assert adopted(pair.kill(), 8)
    exchange(vms, b"after")
    assert still_connected(vms)
    # And new ones find the door where it was.
    late = make_frontend(path)
    late.connect()
    pass_frame(late, vms[0], frame(0, 9, b"hello"))


def test_life_goes_on_after_a_take_over(pair: Pair, plug: Callable[..., list[Frontend]]) -> None:
    """What a session does after the first handshake is understood by the second process."""
    vms = plug(MODES)
    begin(vms)
    pair.wait_in_sync()
    pair.kill()
    for vm in vms:
        vm.stop()
        vm.start()
    begin(vms)
    for vm in vms:
        vm.disconnect()
        vm.connect()
    begin(vms)
    pair.serving.client.port_remove(id="p0")
    vms[0].wait_disconnect()


def test_half_a_message_costs_that_session_alone(
    pair: Pair, plug: Callable[..., list[Frontend]]
) -> None:
    """Nobody can know how much of it the first process has read."""
    vms = plug(["server"] * 3)
    begin(vms)
    vms[0].peer.sock.sendall(b"\x01\x00\x00")
    wait_until(lambda: _unread(vms[0]) == 0, "the first process to read it")
    hello = pair.kill()
    assert hello.took_over is not None
    assert (hello.took_over.adopted, hello.took_over.closed) == (2, 1)
    vms[0].wait_disconnect()
    assert still_connected(vms[1:])
    vms[0].connect()
    begin(vms)


def _unread(vm: Frontend) -> int:
    """Return the bytes that the other end of a VM's connection has not read yet."""
    count = array.array("i", [0])
    fcntl.ioctl(vm.peer.sock, termios.TIOCOUTQ, count)
    return count[0]


def test_one_that_hangs_is_replaced(pair: Pair, plug: Callable[..., list[Frontend]]) -> None:
    vms = plug(MODES)
    begin(vms)
    pair.wait_in_sync()
    os.kill(pair.serving.pid, signal.SIGSTOP)
    assert pair.serving.wait() == -signal.SIGKILL
    assert adopted(pair.swapped(), 2)
    exchange(vms, b"after")
    assert still_connected(vms)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("queues", [1, 4])
def test_kills_under_traffic(pair: Pair, make_vuser: Callable[..., VUser], queues: int) -> None:
    vm = make_vuser()
    for i, port in enumerate("ab"):
        path = ensure_port(pair.serving, port, MODES[i], i, queues)
        vm.add(port, path, server=MODES[i] == "client", queues=queues, mac=mac(i))
    for port in "ab":
        vm.wait_link(port)
    vm.start("a", dst=mac(1), rate=RATE, flows=8)
    vm.start("b", dst=mac(0), rate=RATE, flows=8, size=1500)
    ports = [(vm, port) for port in "ab"]
    wait_traffic(ports)
    vm.reset()
    kills = 10
    for _ in range(kills):
        pair.wait_in_sync()
        assert adopted(pair.kill(), 2)
        wait_traffic(ports)
        pair.start_standby()
    for port in "ab":
        stats = vm.stats(port)
        assert stats.rx_bad == 0
        assert stats.duplicate <= kills * SENT_TWICE * queues


# -- a hand-over ---------------------------------------------------------------


@BOTH
def test_a_hand_over_loses_no_frame(
    pair: Pair, plug: Callable[..., list[Frontend]], mode: str
) -> None:
    vms = plug([mode] * 2)
    begin(vms)
    for i in range(3):
        pair.wait_in_sync()
        pair.serving.client.handover()
        exchange(vms, b"%d" % i)
        assert pair.serving.wait() == 0
        assert adopted(pair.swapped(), 2)
        pair.start_standby()
    assert still_connected(vms)


def test_a_hand_over_loses_none_of_a_stream(
    pair: Pair, plug: Callable[..., list[Frontend]]
) -> None:
    """Wherever a frame is when the first process lets go: it arrives, once, in its turn."""
    vms = plug(["server"] * 2)
    begin(vms)
    for _ in range(5):
        pair.wait_in_sync()
        exchange(vms, b"before")
        pair.serving.client.handover()
        sent: list[bytes] = []
        received: list[bytes] = []
        while pair.serving.running:
            if len(sent) - len(received) < ON_THE_WAY:
                sent.append(frame(1, 0, b"%d" % len(sent)))
                vms[0].send(sent[-1])
            received += vms[1].receive_all()
        while len(received) < len(sent):
            received.append(vms[1].receive())
        assert received == sent
        assert adopted(pair.swapped(), 2)
        pair.start_standby()


def test_a_standby_that_leaves_disturbs_nobody(
    pair: Pair, plug: Callable[..., list[Frontend]]
) -> None:
    """It holds copies of all connections, which must stay open when it ends."""
    vms = plug(MODES)
    begin(vms)
    for end in (pair.standby.stop, pair.standby.kill9):
        pair.wait_in_sync()
        end()
        exchange(vms, b"alone")
        pair.start_standby()
    assert still_connected(vms)
