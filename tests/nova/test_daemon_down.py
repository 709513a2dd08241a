# SPDX-License-Identifier: Apache-2.0
"""What a user sees of ports that cannot be plugged, and what becomes of servers then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nova.calls import PLUG, UNPLUG, Calls
from tests.nova.cloud import Cloud
from tests.nova.servers import Server, Servers
from tests.nova.stand import ComputeHost


@pytest.fixture
def no_daemon(host: ComputeHost) -> Iterator[None]:
    """Stop the daemon, and see to it that it runs after the test."""
    host.brickd.stop()
    yield
    if not host.brickd.running:
        host.brickd.start()


@pytest.fixture
def qemu_as_client(cloud: Cloud) -> Iterator[None]:
    """Bind ports as nobody should."""
    cloud.neutron.qemu_mode = "client"
    yield
    cloud.neutron.qemu_mode = "server"


def check_failed(servers: Servers, calls: Calls, reason: str) -> Server:
    """Check that a boot fails for *reason* and leaves nothing behind."""
    server = servers.post()
    server.wait_status("ERROR")
    assert reason in server.fault
    assert calls.of(server.ports[0]["id"]) == [PLUG, UNPLUG, UNPLUG, UNPLUG]
    assert not server.has_domain
    server.delete()
    return server


@pytest.mark.usefixtures("no_daemon")
def test_boot_without_daemon(servers: Servers, host: ComputeHost, calls: Calls) -> None:
    server = check_failed(servers, calls, f"cannot reach vhost-brickd at {host.client.path}")
    host.brickd.start()
    assert server.plugged() == {}


@pytest.mark.usefixtures("qemu_as_client")
def test_boot_with_qemu_as_client(servers: Servers, calls: Calls) -> None:
    server = check_failed(servers, calls, "QEMU is to be the client")
    assert server.plugged() == {}


def test_the_daemon_is_killed(server: Server, host: ComputeHost) -> None:
    """Its supervisor starts it again, and neither Nova nor the guest has to do anything."""
    lives = len(host.brickd.lives)
    domain = server.domain.ID()
    host.brickd.kill()
    host.brickd.wait_ready(lives)
    server.answer()
    server.check()
    assert server.domain.ID() == domain


def test_delete_without_daemon(servers: Servers, host: ComputeHost, no_daemon: None) -> None:
    """Nova goes on; the port stays, and the daemon can say whose it was."""
    host.brickd.start()
    server = servers.boot()
    host.brickd.stop()
    server.delete()
    host.brickd.start()
    assert not server.has_domain
    assert list(server.plugged()) == [server.ports[0]["id"]]
    host.client.port_remove(id=server.ports[0]["id"])
