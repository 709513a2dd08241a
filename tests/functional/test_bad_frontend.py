# SPDX-License-Identifier: Apache-2.0
"""Frontends that leave early or ask for too much harm nobody but themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.frontend.vhost_user import Frontend, TooFewQueues
from tests.functional.daemon import Daemon
from tests.functional.exchange import ensure_port, frame, pass_frame
from tests.functional.waiting import wait_until

MODES = pytest.mark.parametrize("mode", ["client", "server"])


@pytest.fixture
def neighbours(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> list[Frontend]:
    """Two well-behaved VMs, which must never notice."""
    vms = [
        make_frontend(ensure_port(daemon, f"good{i}", "client", 10 + i), listen=True)
        for i in range(2)
    ]
    for vm in vms:
        vm.connect()
    return vms


def _undisturbed(vms: list[Frontend]) -> None:
    pass_frame(vms[0], vms[1], frame(11, 10, b"there"))
    pass_frame(vms[1], vms[0], frame(10, 11, b"back"))


@MODES
def test_leaves_before_it_is_ready(
    daemon: Daemon,
    make_frontend: Callable[..., Frontend],
    neighbours: list[Frontend],
    mode: str,
) -> None:
    path = ensure_port(daemon, "bad", mode, 0)
    vm = make_frontend(path, listen=mode == "client")
    for _ in range(5):
        vm.open().get_features()
        vm.disconnect()
    _undisturbed(neighbours)
    vm.connect()
    pass_frame(vm, neighbours[0], frame(10, 0, b"in earnest"))


def test_early_leaver_is_a_named_fault(
    daemon: Daemon, make_frontend: Callable[..., Frontend]
) -> None:
    vm = make_frontend(ensure_port(daemon, "bad", "client", 0), listen=True)

    def faulty() -> bool:
        vm.open().get_features()
        vm.disconnect()
        return daemon.client.port_show(id="bad").fault is not None

    wait_until(faulty, "a fault", timeout=30)
    vm.connect()
    wait_until(lambda: daemon.client.port_show(id="bad").fault is None, "the fault to clear")


@MODES
@pytest.mark.parametrize("asked", [3, 8])
def test_asks_for_more_queues_than_offered(
    daemon: Daemon,
    make_frontend: Callable[..., Frontend],
    neighbours: list[Frontend],
    mode: str,
    asked: int,
) -> None:
    path = ensure_port(daemon, "bad", mode, 0, queues=2)
    greedy = make_frontend(path, listen=mode == "client", queues=asked, ring_size=64)
    with pytest.raises(TooFewQueues, match="2 there"):
        greedy.connect()
    greedy.kill(leave_socket=mode == "server")
    modest = make_frontend(path, listen=mode == "client", queues=2, ring_size=64)
    modest.connect()
    pass_frame(modest, neighbours[0], frame(10, 0, b"two are enough"))
    _undisturbed(neighbours)


@MODES
def test_killed_frontend_comes_back(
    daemon: Daemon,
    make_frontend: Callable[..., Frontend],
    neighbours: list[Frontend],
    mode: str,
) -> None:
    path = ensure_port(daemon, "vm", mode, 0)
    for life in range(5):
        vm = make_frontend(path, listen=mode == "client")
        vm.connect()
        pass_frame(vm, neighbours[0], frame(10, 0, b"life %d" % life))
        vm.kill()
    _undisturbed(neighbours)
