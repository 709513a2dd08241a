# SPDX-License-Identifier: Apache-2.0
"""Hundreds of ports at once, thousands one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import VUser
from tests.functional.daemon import Daemon, Usage
from tests.functional.exchange import (
    NETWORK,
    ensure_port,
    frame,
    mac,
    pass_frame,
    wait_traffic,
)
from tests.functional.waiting import wait_until

CLIENTS = 500
SERVERS = 200
CHURN = 1000
ROUNDS = 10
WARM_UP = 3
RATE = 2000


def _all_running(daemon: Daemon) -> bool:
    return all(p.state == "running" for p in daemon.client.port_list().ports)


def _connect_all(vms: list[Frontend]) -> None:
    for vm in vms:
        vm.connect(timeout=30)


@pytest.mark.timeout(600)
def test_hundreds_of_ports_survive_a_kill(
    daemon: Daemon, make_frontend: Callable[..., Frontend], make_vuser: Callable[..., VUser]
) -> None:
    vms = []
    for i in range(CLIENTS + SERVERS):
        mode = "client" if i < CLIENTS else "server"
        path = ensure_port(daemon, f"p{i}", mode, i)
        vms.append(make_frontend(path, listen=mode == "client", ring_size=64))
    busy = make_vuser()
    for i, name in enumerate(("busy-a", "busy-b"), CLIENTS + SERVERS):
        busy.add(name, ensure_port(daemon, name, "client", i), server=True, mac=mac(i))
    _connect_all(vms)
    busy.wait_link("busy-a", timeout=60)
    busy.wait_link("busy-b", timeout=60)
    wait_until(lambda: _all_running(daemon), "all ports to run", timeout=60)
    busy.start("busy-a", dst=mac(CLIENTS + SERVERS + 1), rate=RATE)
    wait_traffic([(busy, "busy-b")])

    daemon.restart()

    wait_traffic([(busy, "busy-b")], timeout=30)
    for vm in vms:
        vm.wait_disconnect()
    _connect_all(vms)
    wait_until(lambda: _all_running(daemon), "all ports to run again", timeout=60)
    wait_traffic([(busy, "busy-b")])
    for sender, receiver in ((0, CLIENTS + SERVERS - 1), (CLIENTS, CLIENTS - 1)):
        pass_frame(vms[sender], vms[receiver], frame(receiver, sender, b"far apart"))


@pytest.mark.timeout(1200)
def test_ports_made_and_deleted_leave_nothing(daemon: Daemon) -> None:
    client = daemon.client
    # The network stays, so that only ports come and go.
    client.network_ensure(network=NETWORK)

    def churn() -> Usage:
        for i in range(CHURN):
            ensure_port(daemon, f"p{i}", "server" if i % 4 == 0 else "client", i)
        assert len(client.port_list().ports) == CHURN
        for i in range(CHURN):
            client.port_remove(id=f"p{i}")
        assert client.port_list().ports == ()
        return daemon.usage()

    # The first rounds pay for what is made once and kept, and for the holes that
    # malloc needs: up to 5 MB more than after the first, never more after that.
    warm = max((churn() for _ in range(WARM_UP)), key=lambda usage: usage.rss_kb)
    for _ in range(ROUNDS - WARM_UP):
        churn()
    daemon.check_flat(warm)
