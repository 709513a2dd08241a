# SPDX-License-Identifier: Apache-2.0
"""What a user sees of ports that cannot be plugged, and what becomes of servers then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nova.tests.functional.api.client import OpenStackApiException

from tests.functional.waiting import wait_until
from tests.nova.calls import PLUG, UNPLUG, Calls
from tests.nova.servers import Json, Server, Servers
from tests.nova.stand import ComputeHost


@pytest.fixture(autouse=True)
def _daemon_comes_back(host: ComputeHost) -> Iterator[None]:
    yield
    if not host.brickd.running:
        host.brickd.start()


def check_failed(servers: Servers, calls: Calls, reason: str) -> Server:
    """Check that a boot fails for *reason* and leaves nothing behind."""
    server = servers.post()
    server.wait_status("ERROR")
    assert reason in server.fault
    assert calls.of(server.ports[0]["id"]) == [PLUG, UNPLUG, UNPLUG, UNPLUG]
    assert not server.has_domain
    server.delete()
    return server


def test_boot_without_daemon(servers: Servers, host: ComputeHost, calls: Calls) -> None:
    host.brickd.stop()
    server = check_failed(servers, calls, f"cannot reach vhost-brickd at {host.client.path}")
    host.brickd.start()
    assert server.plugged() == {}


def test_boot_with_qemu_as_client(servers: Servers, calls: Calls, binding: Json) -> None:
    binding["vhostuser_mode"] = "client"
    server = check_failed(servers, calls, "QEMU is to be the client")
    assert server.plugged() == {}


def test_hard_reboot_without_daemon(server: Server, host: ComputeHost) -> None:
    """To go on would leave a QEMU that waits for its backend, and Nova with it."""
    host.brickd.stop()
    server.post_action("reboot", type="HARD")
    server.wait_status("ERROR")
    assert "cannot reach vhost-brickd" in server.fault
    host.brickd.start()
    server.act("reboot", "ACTIVE", type="HARD")
    server.answer()
    server.check()


def test_attach_without_daemon(server: Server, host: ComputeHost) -> None:
    host.brickd.stop()
    with pytest.raises(OpenStackApiException, match="Failed to attach"):
        server.attach()
    host.brickd.start()
    server.check()
    server.answer()
    port = server.attach()
    server.answer()
    server.detach(port)


def test_detach_without_daemon(server: Server, host: ComputeHost) -> None:
    """The card goes, the port stays with server and daemon, and detach may be repeated."""
    port = server.attach()
    server.answer()
    host.brickd.stop()
    server.post_detach(port)
    wait_until(lambda: len(server.interfaces()) == 1, "the card to go", 30)
    server.wait_event("compute_detach_interface", "Error")
    host.brickd.start()
    assert port["id"] in server.plugged()
    server.detach(port)
    server.check()
    server.answer()


def test_the_daemon_is_killed(server: Server, host: ComputeHost) -> None:
    """Its supervisor starts it again, and neither Nova nor the guest has to do anything."""
    lives = len(host.brickd.lives)
    domain = server.domain.ID()
    host.brickd.kill()
    host.brickd.wait_ready(lives)
    server.answer()
    server.check()
    assert server.domain.ID() == domain


def test_delete_without_daemon(servers: Servers, host: ComputeHost) -> None:
    """Nova goes on; the port stays, and the daemon can say whose it was."""
    server = servers.boot()
    host.brickd.stop()
    server.delete()
    host.brickd.start()
    assert not server.has_domain
    assert list(server.plugged()) == [server.ports[0]["id"]]
    host.client.port_remove(id=server.ports[0]["id"])
