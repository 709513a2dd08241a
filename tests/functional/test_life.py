# SPDX-License-Identifier: Apache-2.0
"""'port show' tells how a port came to be as it is, in the words of the event stream."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.frontend.vhost_user import Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import ensure_port
from tests.functional.waiting import wait_until
from vhost_brick_plugin.report import Happening

NO_SUCH_REQUEST = 1000


def _life(daemon: Daemon) -> tuple[Happening, ...]:
    return daemon.client.port_show(id="vm").life


def _wait_for(daemon: Daemon, what: str) -> Happening:
    """Wait until the last that happened is *what*, and return it."""

    def last() -> Happening | None:
        happening = _life(daemon)[-1]
        return happening if happening.what == what else None

    return wait_until(last, f"{what} in the life of the port")


def test_a_life_from_the_first_connection_to_the_next_daemon(
    daemon: Daemon, make_frontend: Callable[..., Frontend]
) -> None:
    vm = make_frontend(ensure_port(daemon, "vm", "server", 0))
    vm.connect()
    running = _wait_for(daemon, "session_running")
    life = {happening.what: happening for happening in _life(daemon)}
    assert list(life) == [
        "port_added",
        "session_connected",
        "session_negotiated",
        "session_running",
    ]
    connected = life["session_connected"].detail
    assert (connected["pid"], connected["user"]) == (str(os.getpid()), str(os.geteuid()))
    assert running.detail["queues"] == "1"
    assert running.detail["features"] == life["session_negotiated"].detail["features"]
    (session,) = daemon.client.port_show(id="vm").sessions
    assert int(running.detail["features"], 0) == session.features
    assert [h.time for h in _life(daemon)] == sorted(h.time for h in _life(daemon))

    vm.close()
    closed = _wait_for(daemon, "session_closed")
    assert "reason" not in closed.detail
    assert closed.detail["session"] == connected["session"]

    daemon.restart()
    assert [happening.what for happening in _life(daemon)] == ["port_restored"]


def test_a_life_says_why_a_connection_was_ended(
    daemon: Daemon, make_frontend: Callable[..., Frontend]
) -> None:
    vm = make_frontend(ensure_port(daemon, "vm", "server", 0))
    vm.connect()
    _wait_for(daemon, "session_running")
    vm.peer.send_raw(NO_SUCH_REQUEST)
    closed = _wait_for(daemon, "session_closed")
    assert closed.detail["reason"] == "bad_message"
    happened = [happening.what for happening in _life(daemon)]
    assert happened[-3:] == ["session_stopped", "fault", "session_closed"]
    assert _life(daemon)[-2].detail["fault"] == "bad_message"
