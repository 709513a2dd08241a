# SPDX-License-Identifier: Apache-2.0
"""Several frontends on one server-mode socket: each is an edge of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tests.frontend.vhost_user import Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import ensure_port, frame, pass_frame
from tests.functional.waiting import wait_until


def _exchange_all(vms: list[Frontend]) -> None:
    """Pass a frame from each to each: by flooding at first, then as learned."""
    for round, (i, j) in itertools.product(range(2), itertools.permutations(range(len(vms)), 2)):
        pass_frame(vms[i], vms[j], frame(10 + j, 10 + i, b"round %d" % round))


def test_two_sessions_and_a_third_port(
    daemon: Daemon, make_frontend: Callable[..., Frontend]
) -> None:
    shared = ensure_port(daemon, "shared", "server", 0)
    third = ensure_port(daemon, "third", "client", 1)
    vms = [make_frontend(shared), make_frontend(shared), make_frontend(third, listen=True)]
    for vm in vms:
        vm.connect()
    wait_until(lambda: len(daemon.client.port_show(id="shared").sessions) == 2, "two sessions")
    _exchange_all(vms)


def test_broadcast_reaches_the_other_session_once(
    daemon: Daemon, make_frontend: Callable[..., Frontend]
) -> None:
    path = ensure_port(daemon, "shared", "server", 0)
    one, other = make_frontend(path), make_frontend(path)
    one.connect()
    other.connect()
    _exchange_all([one, other])
    for vm in (one, other):
        vm.receive_all()
    everybody, last = frame(None, 10, b"to everybody"), frame(11, 10, b"last")
    one.send(everybody)
    one.send(last)
    assert _receive_up_to(other, last).count(everybody) == 1
    assert one.receive_all() == []


def _receive_up_to(vm: Frontend, last: bytes) -> list[bytes]:
    seen = [vm.receive()]
    while seen[-1] != last:
        seen.append(vm.receive())
    return seen


def test_one_session_leaves_and_the_other_goes_on(
    daemon: Daemon, make_frontend: Callable[..., Frontend]
) -> None:
    path = ensure_port(daemon, "shared", "server", 0)
    third = ensure_port(daemon, "third", "server", 1)
    stays, leaves, peer = make_frontend(path), make_frontend(path), make_frontend(third)
    for vm in (stays, leaves, peer):
        vm.connect()
    _exchange_all([stays, leaves, peer])
    leaves.disconnect()
    wait_until(lambda: len(daemon.client.port_show(id="shared").sessions) == 1, "one session")
    assert stays.connected
    pass_frame(stays, peer, frame(12, 10, b"still here"))
    pass_frame(peer, stays, frame(10, 12, b"so am I"))


def test_both_sessions_come_back_after_a_kill(
    daemon: Daemon, make_frontend: Callable[..., Frontend]
) -> None:
    path = ensure_port(daemon, "shared", "server", 0)
    vms = [make_frontend(path), make_frontend(path)]
    for vm in vms:
        vm.connect()
    _exchange_all(vms)
    daemon.restart()
    for vm in vms:
        vm.wait_disconnect()
        vm.connect()
    _exchange_all(vms)
