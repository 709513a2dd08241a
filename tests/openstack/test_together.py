# SPDX-License-Identifier: Apache-2.0
"""Nova and Neutron together: a server on a port that our driver bound, and its datapath killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.waiting import wait_until
from tests.neutron.api import Resource
from tests.nova.ping import ping
from tests.openstack.cli import PROJECT
from tests.openstack.stand import OpenStack

PHYSICAL, TAP = "physnet1", "phys1"
CIDR, OUTSIDE = "198.51.100.0/24", "198.51.100.1/24"

ANSWER_TIMEOUT = 30.0
"""Seconds; only the first answer may have to wait for a guest that boots."""


@pytest.fixture
def tap(cloud: OpenStack) -> Iterator[str]:
    """A tap of the host's, which the agent takes for the physical network."""
    host = cloud.host

    def known() -> bool:
        mappings = cloud.stand.wait_agent(host)["configurations"]["bridge_mappings"]
        return bool(mappings == {PHYSICAL: f"tap:{TAP}"})

    with host.mapping(PHYSICAL, f"tap:{TAP}"):
        wait_until(known, "the agent with its other mapping")
        yield TAP


@pytest.fixture
def port(cloud: OpenStack) -> Iterator[Resource]:
    """A port on a flat network, both deleted at the end."""
    api = cloud.stand.api
    flat = {"provider:network_type": "flat", "provider:physical_network": PHYSICAL}
    network = api.create("network", project_id=PROJECT, **flat)
    within = {"project_id": PROJECT, "network_id": network["id"]}
    api.create("subnet", ip_version=4, cidr=CIDR, **within)
    port = api.create("port", **within)
    yield port
    api.delete("port", port["id"])
    api.delete("network", network["id"])


def boot(cloud: OpenStack, port: Resource) -> Any:
    """Boot a server on a port; return it as the client shows it."""
    options = f"--image guest --flavor m1.tiny --port {port['id']}"
    made = cloud.cli.show(f"openstack server create {options} two")
    return cloud.wait_active(made["id"])


def test_a_server_answers_whatever_becomes_of_the_daemon(
    cloud: OpenStack, tap: str, port: Resource
) -> None:
    host, api = cloud.host, cloud.stand.api
    address = port["fixed_ips"][0]["ip_address"]
    server = boot(cloud, port)

    bound = api.show("port", port["id"])
    assert (bound["status"], bound["device_id"]) == ("ACTIVE", server["id"])
    assert bound["binding:vif_type"] == "vhostuser"
    assert bound["binding:vif_details"]["vhostuser_socket"] == str(host.socket_dir / port["id"])

    cloud.give_address(server["id"], address)
    host.ns.ip("addr", "add", OUTSIDE, "dev", tap)
    host.ns.ip("link", "set", tap, "up")
    ping(host.ns, address, ANSWER_TIMEOUT)
    shown = host.show(f"vhost-brick port show {port['id']}")
    assert (shown["state"], shown["security"]) == ("running", "filtered")
    assert shown["allowed"] == [{"mac": port["mac_address"], "ip": f"{address}/32"}]

    domain, lives = host.domain(server["id"]).ID(), len(host.daemon.lives)
    host.daemon.kill()
    host.daemon.wait_ready(lives)
    ping(host.ns, address, ANSWER_TIMEOUT)
    assert host.domain(server["id"]).ID() == domain, "the guest was restarted"
    assert api.show("port", port["id"])["status"] == "ACTIVE"

    cloud.cli.run("openstack server delete --wait two")
    wait_until(lambda: not host.client.port_list().ports, "the port to be unplugged")
    wait_until(lambda: not host.client.network_list().networks, "the network to go")
    assert api.show("port", port["id"])["binding:vif_type"] == "unbound"
