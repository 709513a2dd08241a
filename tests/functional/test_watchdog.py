# SPDX-License-Identifier: Apache-2.0
"""A datapath that hangs ends itself, for guests recover from a dead one; one that was stopped
goes on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.frontend.vhost_user import Frontend
from tests.functional import frozen
from tests.functional.daemon import Daemon
from tests.functional.exchange import ensure_port, frame, pass_frame

LIMIT_S = 1
CONFIG = {"daemon": {"watchdog_s": LIMIT_S}, "dpdk": {"idle_sleep_us": 0}}
"""A worker that sleeps is none that hangs: this one never does."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="stops a thread of another process")


def _plug_pair(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> list[Frontend]:
    paths = [ensure_port(daemon, port, "client", i) for i, port in enumerate("ab")]
    vms = [make_frontend(path, listen=True) for path in paths]
    for vm in vms:
        vm.connect()
    return vms


def test_a_worker_that_hangs_ends_the_daemon_and_guests_go_on(
    make_daemon: Callable[..., Daemon], make_frontend: Callable[..., Frontend]
) -> None:
    daemon = make_daemon("dpdk", config=CONFIG)
    vms = _plug_pair(daemon, make_frontend)
    pass_frame(*vms, frame(1, 0, b"before"))
    worker = frozen.find_thread(daemon.pid, "worker")
    frozen.freeze(worker)
    frozen.bury(worker)
    assert daemon.wait() == -signal.SIGABRT
    # On stderr, and in the log.
    text = f"watchdog: worker 0 has hung for {LIMIT_S}"
    assert daemon.log_tail().count(text) == 2
    daemon.start()
    for vm in vms:
        vm.wait_disconnect()
        vm.connect()
    pass_frame(*vms, frame(1, 0, b"after"))


def test_a_daemon_that_was_stopped_goes_on(
    make_daemon: Callable[..., Daemon], make_frontend: Callable[..., Frontend]
) -> None:
    daemon = make_daemon("dpdk", config=CONFIG)
    vms = _plug_pair(daemon, make_frontend)
    pass_frame(*vms, frame(1, 0, b"before"))
    daemon.signal(signal.SIGSTOP)
    # No wait for something to happen: it is the time in question.
    time.sleep(3 * LIMIT_S)
    daemon.signal(signal.SIGCONT)
    for number in range(20):
        pass_frame(*vms, frame(1, 0, b"after %d" % number))
    assert daemon.running
    assert "watchdog" not in daemon.log_tail()


def test_no_watchdog_on_request(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("dpdk", config={"daemon": {"watchdog_s": 0}})
    with pytest.raises(AssertionError, match="no thread"):
        frozen.find_thread(daemon.pid, "vb-watchdog")
