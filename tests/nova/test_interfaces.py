# SPDX-License-Identifier: Apache-2.0
"""Cards that come and go while a server runs, and servers with more than one."""

from __future__ import annotations

from tests.nova.calls import PLUG, UNPLUG, Calls
from tests.nova.servers import Json, Server, Servers


def test_attach_and_detach(server: Server, calls: Calls) -> None:
    for _ in range(2):
        port = server.attach()
        server.answer()
        server.check()
        server.detach(port)
        server.answer()
        server.check()
    assert calls.of(port["id"]) == [PLUG, UNPLUG] * 2
    assert calls.of(server.ports[0]["id"]) == []


def test_two_cards(servers: Servers) -> None:
    server = servers.boot(["blue", "green"])
    server.check()
    server.delete()
    assert server.plugged() == {}


def test_the_openvswitch_profile(servers: Servers, binding: Json) -> None:
    """What a Neutron says that joins the brick to Open vSwitch: VIFPortProfileFPOpenVSwitch."""
    binding["vhostuser_ovs_plug"] = True
    server = servers.boot()
    server.check()
    server.delete()
    assert server.plugged() == {}
