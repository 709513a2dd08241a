# SPDX-License-Identifier: Apache-2.0
"""What a user and an operator see while vhost-brickd is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nova.calls import PLUG, UNPLUG, Calls
from tests.nova.servers import Servers
from tests.nova.stand import ComputeHost


@pytest.fixture
def no_daemon(host: ComputeHost) -> Iterator[None]:
    """Stop the daemon, and start it again after the test."""
    host.brickd.stop()
    yield
    host.brickd.start()


@pytest.mark.usefixtures("no_daemon")
def test_boot_fails_with_the_reason(servers: Servers, host: ComputeHost, calls: Calls) -> None:
    server = servers.post()
    server.wait_status("ERROR")
    print(server.show()["fault"])
    print(server.fault, len(server.fault))
    assert "cannot reach vhost-brickd" in server.fault
    assert calls.of(server.ports[0]["id"]) == [PLUG, UNPLUG, UNPLUG, UNPLUG]
    assert host.libvirt.listAllDomains() == []
    server.delete()
