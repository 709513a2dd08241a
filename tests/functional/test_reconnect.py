# SPDX-License-Identifier: Apache-2.0
"""Whatever dies and comes back, in whatever order: traffic finds its way again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import VUser
from tests.functional.daemon import Daemon, Usage
from tests.functional.exchange import (
    ensure_port,
    frame,
    mac,
    pass_frame,
    wait_exchange,
    wait_traffic,
)
from tests.functional.waiting import wait_until

KILLS = 100
RECONNECTS = 1000
RATE = 2000
"""Frames a second: enough that a kill always hits some, little enough for a small machine."""

SENT_TWICE = 256
"""A whole ring: what a killed backend had sent on but not yet returned is sent again."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("queues", [1, 4])
def test_survives_sigkills_under_traffic(
    daemon: Daemon, make_vuser: Callable[..., VUser], queues: int
) -> None:
    vm = make_vuser()
    ports = ["a", "b"]
    for i, port in enumerate(ports):
        path = ensure_port(daemon, port, "client", i, queues)
        vm.add(port, path, server=True, queues=queues, mac=mac(i))
    for port in ports:
        vm.wait_link(port)
    vm.start("a", dst=mac(1), rate=RATE, flows=8)
    vm.start("b", dst=mac(0), rate=RATE, flows=8, size=1500)
    wait_traffic([(vm, port) for port in ports])
    vm.reset()
    for _ in range(KILLS):
        daemon.restart()
        wait_traffic([(vm, port) for port in ports])
    for port in ports:
        stats = vm.stats(port)
        assert stats.rx_bad == 0
        assert stats.duplicate <= KILLS * SENT_TWICE * queues


@pytest.mark.timeout(300)
def test_server_mode_survives_sigkills(
    daemon: Daemon, make_frontend: Callable[..., Frontend]
) -> None:
    paths = [ensure_port(daemon, port, "server", i) for i, port in enumerate("ab")]
    one, other = (make_frontend(path) for path in paths)
    for kill in range(20):
        one.connect()
        other.connect()
        pass_frame(one, other, frame(1, 0, b"there %d" % kill))
        pass_frame(other, one, frame(0, 1, b"back %d" % kill))
        daemon.restart()
        one.wait_disconnect()
        other.wait_disconnect()


def orders() -> Iterator[tuple[str, ...]]:
    """Yield each way to take frontend, daemon and port away and bring them back.

    The port can only be made or deleted while the daemon runs.
    """
    steps = ("frontend-", "frontend+", "daemon-", "daemon+", "port-", "port+")
    for order in itertools.permutations(steps):
        at = {step: i for i, step in enumerate(order)}
        paired = all(at[f"{x}-"] < at[f"{x}+"] for x in ("frontend", "daemon", "port"))
        down = range(at["daemon-"], at["daemon+"])
        if paired and at["port-"] not in down and at["port+"] not in down:
            yield order


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["client", "server"])
def test_any_order_converges(daemon: Daemon, make_vuser: Callable[..., VUser], mode: str) -> None:
    # A VM each: one that waits for its backend must not hold up the other.
    paths = {port: ensure_port(daemon, port, mode, i) for i, port in enumerate("ab")}
    vm = make_vuser()

    def plug(port: str, number: int) -> None:
        listens = mode == "client"
        vm.add(port, paths[port], server=listens, mac=mac(number), retry_ms=20)

    actions: dict[str, Callable[[], object]] = {
        "frontend-": lambda: vm.remove("a"),
        "frontend+": lambda: plug("a", 0),
        "daemon-": daemon.kill9,
        "daemon+": daemon.start,
        "port-": lambda: daemon.client.port_remove(id="a"),
        "port+": lambda: ensure_port(daemon, "a", mode, 0),
    }
    plug("b", 1)
    plug("a", 0)
    for order in orders():
        for step in order:
            actions[step]()
        try:
            vm.wait_link("a")
            vm.wait_link("b")
            wait_exchange(vm, "a", "b")
        except Exception as e:
            raise AssertionError(f"after {' '.join(order)}: {e}") from e


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["client", "server"])
def test_reconnects_leak_nothing(
    daemon: Daemon, make_frontend: Callable[..., Frontend], mode: str
) -> None:
    path = ensure_port(daemon, "a", mode, 0, queues=2)
    vm = make_frontend(path, listen=mode == "client", queues=2, ring_size=64)

    def settled() -> bool:
        status = daemon.client.port_show(id="a")
        return status.state == "running" and len(status.sessions) == 1

    def reconnect(times: int) -> Usage:
        for i in range(times):
            vm.connect()
            if i % 2:
                vm.stop()
            vm.disconnect()
        vm.connect()
        wait_until(settled, "only the last session to be there")
        return daemon.usage()

    before = reconnect(RECONNECTS // 10)
    reconnect(RECONNECTS)
    daemon.check_flat(before)
