# SPDX-License-Identifier: Apache-2.0
"""Ports end, move and change; what is left behind is what Neutron knows of, and nothing else."""

from __future__ import annotations

from tests.functional.waiting import wait_until
from tests.neutron import compute
from tests.neutron.cloud import Cloud
from tests.neutron.guest import talk
from tests.neutron.host import TRUNK_NET, Host
from tests.neutron.stand import TIMEOUT
from vhost_brick_plugin.model import SecurityMode


def networks(host: Host) -> set[str]:
    return {status.network.name for status in host.daemon.client.network_list().networks}


def ports(host: Host) -> set[str]:
    return {status.port.id for status in host.daemon.client.port_list().ports}


def test_last_port_takes_its_network_along(cloud: Cloud) -> None:
    host = cloud.stand.hosts[0]
    network, other = cloud.network("vlan", TRUNK_NET, 101), cloud.network("vxlan")
    one, two = cloud.guest(network, host), cloud.guest(network, host)
    cloud.guest(other, host)
    two.delete()
    cloud.wait_status(two.id, "DOWN")
    assert networks(host) == {network["id"], other["id"]}
    assert ports(host) >= {one.id}
    one.delete()
    wait_until(lambda: networks(host) == {other["id"]}, "the network to go", TIMEOUT)
    cloud.wait_status(one.id, "DOWN")


def test_port_that_neutron_deleted_passes_nothing(cloud: Cloud) -> None:
    """Whatever order somebody deletes things in: no guest keeps a network that is not its own."""
    host = cloud.stand.hosts[0]
    network = cloud.network("vxlan")
    one, other = cloud.guest(network, host), cloud.guest(network, host)
    talk([one, other])
    cloud.api.delete("port", one.id)

    def silent() -> bool:
        one.send(one.datagram(other.mac))
        counters = host.daemon.client.port_show(id=one.id).counters
        return counters.drops.get("port_closed", 0) > 0

    wait_until(silent, "the deleted port to be closed", TIMEOUT)
    one.delete()


def is_wired(host: Host, port_id: str, network_id: str) -> bool:
    """Tell whether a port is on a network with a tunnel, and lets its own frames through."""
    security = host.daemon.client.port_show(id=port_id).port.security
    status = {s.network.name: s for s in host.daemon.client.network_list().networks}[network_id]
    filtered = security is not None and security.mode is SecurityMode.FILTERED
    return filtered and any(uplink.tunnel for uplink in status.network.uplinks)


def bindings(cloud: Cloud, port_id: str) -> dict[str, str]:
    """Return the status of each binding of a port by its host."""
    found = cloud.api.list("binding", under=f"ports/{port_id}/")
    return {binding["host"]: binding["status"] for binding in found}


def test_live_migration_leaves_nothing_behind(cloud: Cloud) -> None:
    """Nova's order: bind both, plug there, move, activate there, unplug here, unbind here."""
    source, target = cloud.stand.hosts
    network = cloud.network("vxlan")
    guest, peer = cloud.guest(network, source), cloud.guest(network, source)
    talk([guest, peer])

    under = f"ports/{guest.id}/"
    binding = cloud.api.create("binding", under=under, host=target.name)
    assert binding["vif_type"] == "vhostuser"
    assert bindings(cloud, guest.id) == {source.name: "ACTIVE", target.name: "INACTIVE"}
    talk([guest, peer])

    there = {
        "binding:vif_type": binding["vif_type"],
        "binding:vif_details": binding["vif_details"],
    }
    arrived = cloud.start(guest.port | there, network, target)
    wait_until(lambda: is_wired(target, guest.id, network["id"]), "the target to be wired ahead")
    talk([guest, peer])

    cloud.api.put(f"ports/{guest.id}/bindings/{target.name}/activate")
    guest.delete()
    cloud.api.delete("binding", source.name, under=under)

    port = cloud.wait_status(guest.id, "ACTIVE")
    assert port["binding:host_id"] == target.name
    assert bindings(cloud, guest.id) == {target.name: "ACTIVE"}
    talk([arrived, peer])
    assert guest.id not in ports(source)
    assert guest.id in ports(target)
    peer.delete()
    wait_until(lambda: not networks(source), "the network to go from the source", TIMEOUT)


def test_migration_that_is_called_off_leaves_nothing_behind(cloud: Cloud) -> None:
    source, target = cloud.stand.hosts
    network = cloud.network("vlan", TRUNK_NET, 101)
    guest, peer = cloud.guest(network, source), cloud.guest(network, source)
    under = f"ports/{guest.id}/"
    binding = cloud.api.create("binding", under=under, host=target.name)
    there = {"binding:vif_details": binding["vif_details"]}
    vif = compute.make_vif(guest.port | there, network)
    compute.plug(target.daemon, vif)
    compute.unplug(target.daemon, vif)
    cloud.api.delete("binding", target.name, under=under)
    wait_until(lambda: not networks(target), "the network to go from the target", TIMEOUT)
    assert cloud.api.show("port", guest.id)["status"] == "ACTIVE"
    talk([guest, peer])
