# SPDX-License-Identifier: Apache-2.0
"""nova-compute starts again on a host that has servers: it plugs every VIF of theirs."""

from __future__ import annotations

import pytest
from nova.exception import InternalError

from tests.nova.calls import PLUG, UNPLUG, Calls
from tests.nova.cloud import Cloud
from tests.nova.servers import Server
from tests.nova.stand import ComputeHost


def test_a_running_server(server: Server, cloud: Cloud, calls: Calls) -> None:
    sessions = server.sessions()
    cloud.stop_compute()
    server.answer()
    cloud.start_compute()
    server.answer()
    server.check()
    assert server.sessions() == sessions, "its traffic was disturbed"
    assert calls.of(server.ports[0]["id"]) == [PLUG]
    server.act("reboot", "ACTIVE", type="HARD")
    server.answer()
    server.check()


def test_a_stopped_server(server: Server, cloud: Cloud, calls: Calls) -> None:
    server.act("os-stop", "SHUTOFF")
    cloud.stop_compute()
    cloud.start_compute()
    server.check("waiting")
    assert calls.of(server.ports[0]["id"]) == [PLUG]
    server.act("os-start", "ACTIVE")
    server.answer()
    server.check()


def test_while_the_daemon_is_down(server: Server, cloud: Cloud, host: ComputeHost) -> None:
    cloud.stop_compute()
    host.brickd.stop()
    cloud.start_compute()
    host.brickd.start()
    server.answer()
    server.check()


def test_a_port_that_is_lost_while_the_daemon_is_down(
    server: Server, cloud: Cloud, host: ComputeHost
) -> None:
    """nova-compute does not start, says why, and mends it once the daemon is back."""
    cloud.stop_compute()
    host.client.port_remove(id=server.ports[0]["id"])
    host.brickd.stop()
    with pytest.raises(InternalError, match="cannot reach vhost-brickd"):
        cloud.start_compute()
    host.brickd.start()
    cloud.start_compute()
    server.answer()
    server.check()


def test_the_host_reboots(server: Server, cloud: Cloud, host: ComputeHost, calls: Calls) -> None:
    cloud.stop_compute()
    server.domain.destroy()
    host.brickd.stop()
    host.brickd.start()
    cloud.flags(resume_guests_state_on_host_boot=True)
    cloud.start_compute()
    cloud.reset_flags("resume_guests_state_on_host_boot", group=None)
    server.answer()
    server.check()
    assert calls.of(server.ports[0]["id"]) == [PLUG, UNPLUG, PLUG]
