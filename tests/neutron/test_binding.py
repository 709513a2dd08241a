# SPDX-License-Identifier: Apache-2.0
"""Neutron binds ports to hosts with a live agent, and knows when they are up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.neutron.cloud import Cloud
from tests.neutron.host import TAP_NET, TRUNK_NET
from tests.neutron.stand import NOWHERE_NET, Stand

SEGMENTS: dict[str, dict[str, Any]] = {
    "flat": {"physical": TRUNK_NET},
    "vlan": {"physical": TRUNK_NET, "id": 101},
    "vxlan": {},
    "local": {},
}


def test_agents_report_what_they_have(stand: Stand) -> None:
    for host in stand.hosts:
        configurations = stand.wait_agent(host)["configurations"]
        assert configurations["tunneling_ip"] == host.address
        assert "vxlan" in configurations["tunnel_types"]
        assert configurations["socket_dir"] == str(host.daemon.socket_dir)
        assert set(configurations["bridge_mappings"]) == {TRUNK_NET, TAP_NET}


@pytest.mark.parametrize("type", SEGMENTS)
def test_ports_are_bound_and_become_active(cloud: Cloud, type: str) -> None:
    network = cloud.network(type, **SEGMENTS[type], mtu=1400)
    for host in cloud.stand.hosts:
        port = cloud.port(network, host)
        details = port["binding:vif_details"]
        assert port["binding:vif_type"] == "vhostuser"
        assert details["vhostuser_mode"] == "server", "QEMU's, which must listen"
        assert details["vhostuser_fp_plug"] is True
        assert details["vhostuser_socket"].startswith(f"{host.daemon.socket_dir}/")
        assert details["port_filter"] is False, "no security groups yet"
        assert details["connectivity"] == "l2"
        assert port["status"] == "DOWN", "nothing is plugged"

        guest = cloud.start(port, network, host)
        cloud.wait_status(guest.id, "ACTIVE")
        plugged = host.daemon.client.port_show(id=guest.id).port
        assert (plugged.network, plugged.mac) == (network["id"], guest.mac)
        assert plugged.mtu == 1400
        guest.delete()
        cloud.wait_status(guest.id, "DOWN")


def test_hosts_without_the_physical_network_get_no_ports(cloud: Cloud) -> None:
    network = cloud.network("flat", NOWHERE_NET)
    for host in cloud.stand.hosts:
        assert cloud.port(network, host)["binding:vif_type"] == "binding_failed"


def test_other_kinds_of_ports_are_for_other_drivers(cloud: Cloud) -> None:
    network = cloud.network("local")
    port = cloud.port(network, cloud.stand.hosts[0], **{"binding:vnic_type": "direct"})
    assert port["binding:vif_type"] == "binding_failed"


def test_hosts_whose_agent_is_dead_get_no_ports(cloud: Cloud) -> None:
    stand, host = cloud.stand, cloud.stand.hosts[0]
    network = cloud.network("local")
    host.agent.kill9()
    stand.age_heartbeat(host)
    port = cloud.port(network, host)
    assert port["binding:vif_type"] == "binding_failed"

    host.agent.start()
    stand.wait_agent(host)
    # Any change makes Neutron try again.
    port = cloud.api.update("port", port["id"], name="again")
    assert port["binding:vif_type"] == "vhostuser"
