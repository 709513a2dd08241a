# SPDX-License-Identifier: Apache-2.0
"""Nova's part: it turns a bound Neutron port into a VIF, and has os-vif plug it."""

from __future__ import annotations

import uuid

import os_vif
from nova.network import model, os_vif_util
from os_vif import objects
from oslo_config import cfg

from tests.functional.daemon import Daemon
from tests.neutron.api import PROJECT, Resource

PLUGIN = "vhostuser_fp"
os_vif.initialize()

INSTANCE = objects.instance_info.InstanceInfo(
    uuid=str(uuid.UUID(int=1)), name="instance-00000001", project_id=PROJECT
)


def make_vif(port: Resource, network: Resource) -> objects.vif.VIFBase:
    """Return what Nova makes of *port*, by Nova's own code where it has a function for it."""
    details = port["binding:vif_details"]
    assert port["binding:vif_type"] == "vhostuser", f"not bound: {port}"
    return os_vif_util.nova_to_osvif_vif(
        model.VIF(
            id=port["id"],
            address=port["mac_address"],
            type=port["binding:vif_type"],
            details=details,
            vnic_type=port["binding:vnic_type"],
            profile=port["binding:profile"],
            active=port["status"] == "ACTIVE",
            devname=("nic" + port["id"])[: model.NIC_NAME_LEN],
            network=model.Network(
                id=network["id"],
                bridge=details.get("bridge_name"),
                label=network["name"],
                mtu=network["mtu"],
                tenant_id=PROJECT,
                subnets=[],
            ),
        )
    )


def plug(daemon: Daemon, vif: objects.vif.VIFBase) -> None:
    """Plug *vif* on the host of *daemon*."""
    _work_for(daemon)
    os_vif.plug(vif, INSTANCE)


def unplug(daemon: Daemon, vif: objects.vif.VIFBase) -> None:
    _work_for(daemon)
    os_vif.unplug(vif, INSTANCE)


def _work_for(daemon: Daemon) -> None:
    """Make this process the nova-compute of the daemon's host."""
    group = f"os_vif_{PLUGIN}"
    cfg.CONF.set_override("api_socket", str(daemon.api_socket), group=group)
    cfg.CONF.set_override("state_dir", str(daemon.state_dir), group=group)
    cfg.CONF.set_override("timeout", 10.0, group=group)
