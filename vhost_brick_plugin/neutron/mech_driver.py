# SPDX-License-Identifier: Apache-2.0
"""The ML2 mechanism driver ``vhost_brick``: binds ports to hosts with a live agent of ours.

It runs in neutron-server and keeps no state.  What a host can do is what its agent
reports; Nova gets the path of a vhost-user socket, and has QEMU listen on it.
"""

from __future__ import annotations

import logging
import os.path
from collections.abc import Collection, Mapping
from typing import Any

from neutron.plugins.ml2.drivers import mech_agent
from neutron_lib import constants as n_const
from neutron_lib.api.definitions import portbindings
from neutron_lib.api.definitions import qinq as qinq_apidef
from neutron_lib.api.definitions import vlantransparent as vlan_apidef

from vhost_brick_plugin.model import MAX_SOCKET_PATH
from vhost_brick_plugin.neutron import constants

LOG = logging.getLogger(__name__)

FP_PLUG = "vhostuser_fp_plug"
"""Makes Nova choose the os-vif plugin 'vhostuser_fp'; Neutron has no name for it."""

BRIDGE_PREFIX = "vhb"
BRIDGE_LENGTH = 14
"""Nova cuts longer names of bridges."""

NOT_OURS = (n_const.DEVICE_OWNER_NETWORK_PREFIX, "trunk:")
"""Owners of ports that have no guest: Neutron's own agents, and subports of trunks."""


class VhostBrickMechanismDriver(mech_agent.SimpleAgentMechanismDriverBase):  # type: ignore[misc]
    """Binds ports of VNIC type normal on flat, vlan, vxlan and local segments.

    Frames with VLAN tags of a guest's own are not promised to pass, security groups and
    QoS rules are not enforced.
    """

    _explicitly_not_supported_extensions = frozenset({vlan_apidef.ALIAS, qinq_apidef.ALIAS})

    def __init__(self) -> None:
        super().__init__(
            constants.AGENT_TYPE,
            portbindings.VIF_TYPE_VHOST_USER,
            {
                # Security groups are not enforced, so do not say they are.
                portbindings.CAP_PORT_FILTER: False,
                # QEMU's mode, not ours: it survives restarts of vhost-brickd best.
                portbindings.VHOST_USER_MODE: portbindings.VHOST_USER_MODE_SERVER,
                FP_PLUG: True,
            },
            supported_vnic_types=[portbindings.VNIC_NORMAL],
        )

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L2)

    def get_allowed_network_types(self, agent: Mapping[str, Any]) -> list[str]:
        tunnels = agent["configurations"].get(constants.TUNNEL_TYPES, [])
        return [n_const.TYPE_LOCAL, n_const.TYPE_FLAT, n_const.TYPE_VLAN, *tunnels]

    def get_mappings(self, agent: Mapping[str, Any]) -> Collection[str]:
        mappings: Collection[str] = agent["configurations"].get(constants.BRIDGE_MAPPINGS, {})
        return mappings

    def try_to_bind_segment_for_agent(
        self, context: Any, segment: Mapping[str, Any], agent: Mapping[str, Any]
    ) -> bool:
        port = context.current
        if port["device_owner"].startswith(NOT_OURS):
            LOG.debug(
                "Port %(port)s belongs to %(owner)s, which cannot use a vhost-user socket",
                {"port": port["id"], "owner": port["device_owner"]},
            )
            return False
        path = socket_path(agent, port["id"])
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            LOG.error(
                "Port %(port)s is not bound: its socket path %(path)s on %(host)s has more than "
                "%(limit)d bytes; shorten [vhost] socket_dir of vhost-brickd there",
                {
                    "port": port["id"],
                    "path": path,
                    "host": agent["host"],
                    "limit": MAX_SOCKET_PATH,
                },
            )
            return False
        bound: bool = super().try_to_bind_segment_for_agent(context, segment, agent)
        return bound

    def get_vif_details(
        self, context: Any, agent: Mapping[str, Any], segment: Mapping[str, Any]
    ) -> dict[str, Any]:
        port = context.current
        return {
            **self.vif_details,
            portbindings.VHOST_USER_SOCKET: socket_path(agent, port["id"]),
            portbindings.VIF_DETAILS_BRIDGE_NAME: bridge_name(port["network_id"]),
        }

    def check_vlan_transparency(self, context: Any) -> bool:
        return False

    def check_vlan_qinq(self, context: Any) -> bool:
        return False


def socket_path(agent: Mapping[str, Any], port_id: str) -> str:
    """Return where QEMU shall listen; made of the port's id only, by which Nova finds it again."""
    return os.path.join(agent["configurations"][constants.SOCKET_DIR], port_id)


def bridge_name(network_id: str) -> str:
    """Return a name that Nova leaves as it is; for people, the network's id counts."""
    return (BRIDGE_PREFIX + network_id)[:BRIDGE_LENGTH]
