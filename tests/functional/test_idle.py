# SPDX-License-Identifier: Apache-2.0
"""A daemon without traffic: it costs nothing, and is there at the first frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

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
from tests.functional.pair import make_pair
from tests.functional.waiting import wait_until

PORTS = 64
SHARE_OF_A_CORE = 0.02
WAKES = 6
"""A sleeper looks around once a second: so many of its wakes are the window."""

FIRST_FRAME_S = 0.001
TRIES = 50
RATE = 200
"""Frames a second: a worker sleeps between any two of them."""

MakeFrontend = Callable[..., Frontend]


def _plug(daemon: Daemon, make_frontend: MakeFrontend, count: int) -> list[Frontend]:
    vms = []
    for i in range(count):
        path = ensure_port(daemon, f"p{i}", "client", i)
        vms.append(make_frontend(path, listen=True, ring_size=64))
    for vm in vms:
        vm.connect()
    return vms


def _wait_asleep(vms: Sequence[Frontend]) -> None:
    """Wait until the drivers are asked to kick."""

    def asked() -> bool:
        return all(pair.tx.wants_kick for vm in vms for pair in vm.pairs)

    wait_until(asked, "a worker that sleeps")


def _threads(daemon: Daemon) -> list[Path]:
    return list(Path(f"/proc/{daemon.pid}/task").iterdir())


def _cpu_ns(daemon: Daemon) -> int:
    """Return the processor time of all threads."""
    return sum(int((t / "schedstat").read_text().split()[0]) for t in _threads(daemon))


def _worker_waits(daemon: Daemon) -> int:
    """Return how often the worker has waited; unlike ``stats`` it costs the daemon nothing."""
    (worker,) = (t for t in _threads(daemon) if "worker" in (t / "comm").read_text())
    status = (worker / "status").read_text().splitlines()
    return next(int(s.split()[1]) for s in status if s.startswith("voluntary_ctxt_switches"))


def test_an_idle_daemon_costs_nothing(daemon: Daemon, make_frontend: MakeFrontend) -> None:
    vms = _plug(daemon, make_frontend, PORTS)
    pass_frame(vms[0], vms[-1], frame(PORTS - 1, 0, b"before"))
    _wait_asleep(vms)
    polls = daemon.client.stats().workers[0].polls
    began, cpu, waits = time.monotonic(), _cpu_ns(daemon), _worker_waits(daemon)
    wait_until(lambda: _worker_waits(daemon) >= waits + WAKES, "some seconds of sleep")
    share = (_cpu_ns(daemon) - cpu) / 1e9 / (time.monotonic() - began)
    assert share < SHARE_OF_A_CORE
    assert daemon.client.stats().workers[0].polls - polls < 10 * WAKES
    vms[1].send(frame(PORTS - 1, 1, b"after"))
    receive_frame(vms[-1], frame(PORTS - 1, 1, b"after"))


def test_the_first_frame_is_there_at_once(daemon: Daemon, make_frontend: MakeFrontend) -> None:
    vms = _plug(daemon, make_frontend, PORTS)
    pass_frame(vms[0], vms[1], frame(1, 0, b"before"))
    took = []
    for _ in range(TRIES):
        _wait_asleep(vms)
        began = time.monotonic()
        vms[0].send(frame(1, 0, b"first"))
        receive_frame(vms[1], frame(1, 0, b"first"))
        took.append(time.monotonic() - began)
    # One of them all is what the daemon can do; others waited for a busy machine.
    assert min(took) < FIRST_FRAME_S
    assert max(took) < 0.9, "a frame waited until the worker looked by itself"


def test_a_daemon_killed_asleep(daemon: Daemon, make_frontend: MakeFrontend) -> None:
    vms = _plug(daemon, make_frontend, 2)
    pass_frame(vms[0], vms[1], frame(1, 0, b"before"))
    _wait_asleep(vms)
    daemon.kill9()
    # Its rings still ask for kicks, and nobody hears this one.
    vms[0].send(frame(1, 0, b"between"))
    daemon.start()
    for vm in vms:
        vm.connect()
    for src in range(2):
        pass_frame(vms[src], vms[1 - src], frame(1 - src, src, b"after"))
    _wait_asleep(vms)
    pass_frame(vms[1], vms[0], frame(0, 1, b"at last"))


def test_a_standby_takes_over_from_a_sleeper(
    make_daemon: Callable[..., Daemon], make_frontend: MakeFrontend
) -> None:
    pair = make_pair(make_daemon, "dpdk")
    vms = _plug(pair.serving, make_frontend, 2)
    pass_frame(vms[0], vms[1], frame(1, 0, b"before"))
    for change in (pair.kill, pair.hand_over):
        _wait_asleep(vms)
        pair.wait_in_sync()
        change()
        for src in range(2):
            pass_frame(vms[src], vms[1 - src], frame(1 - src, src, b"after"))
        _wait_asleep(vms)
        pass_frame(vms[1], vms[0], frame(0, 1, b"asleep again"))
        pair.start_standby()


def test_drivers_that_poll_kick_as_well(daemon: Daemon, make_vuser: Callable[..., VUser]) -> None:
    """DPDK's virtio-user looks at the flag before it kicks."""
    vm = make_vuser()
    for i, port in enumerate("ab"):
        path = ensure_port(daemon, port, "client", i)
        vm.add(port, path, server=True, mac=mac(i))
    ends = [(vm, port) for port in "ab"]
    for i, port in enumerate("ab"):
        vm.wait_link(port)
        vm.start(port, dst=mac(1 - i), rate=RATE)
    wait_traffic(ends)
    vm.reset()
    sleeps = daemon.client.stats().workers[0].sleeps
    wait_traffic(ends, frames=2 * RATE)
    assert daemon.client.stats().workers[0].sleeps - sleeps > RATE
    for _vm, port in ends:
        stats = vm.stats(port)
        assert (stats.lost, stats.rx_bad, stats.duplicate, stats.reordered) == (0, 0, 0, 0)
    daemon.restart()
    wait_traffic(ends)
