# SPDX-License-Identifier: Apache-2.0
"""What Neutron's common agent loop asks of a datapath, in terms of :class:`Wiring`.

A *device* of the loop is a port of the daemon, named by Neutron's port id.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from neutron.plugins.ml2.drivers.agent import _agent_manager_base as amb
from neutron_lib.agent import topics
from oslo_config import cfg

from vhost_brick_plugin.neutron.rpc import CANARY_TOPIC, VhostBrickRpcCallbacks
from vhost_brick_plugin.neutron.security import port_security
from vhost_brick_plugin.neutron.segments import Segment
from vhost_brick_plugin.neutron.wiring import Wiring

EXTENSION_DRIVER_TYPE = "vhost_brick"
"""By which L2 agent extensions, of others, may tell our agent."""

CONSUMERS = (
    (topics.PORT, topics.UPDATE),
    (topics.PORT, topics.DELETE),
    (topics.PORT_BINDING, topics.ACTIVATE),
    (topics.NETWORK, topics.UPDATE),
    (topics.NETWORK, topics.DELETE),
    CANARY_TOPIC,
)


class VhostBrickManager(amb.CommonAgentManagerBase):  # type: ignore[misc]
    """Passes the loop's calls on; what the daemon refuses is raised to the loop."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring

    # -- facts -----------------------------------------------------------------

    def get_agent_id(self) -> str:
        return f"vhost-brick-agent-{cfg.CONF.host}"

    def get_agent_configurations(self) -> dict[str, Any]:
        return self.wiring.configurations()

    def get_extension_driver_type(self) -> str:
        return EXTENSION_DRIVER_TYPE

    def get_agent_api(self, **_kwargs: Any) -> None:
        """Extensions get no interface of ours."""

    def get_rpc_callbacks(self, context: Any, agent: Any, sg_agent: Any) -> VhostBrickRpcCallbacks:
        return VhostBrickRpcCallbacks(context, agent, sg_agent)

    def get_rpc_consumers(self) -> list[list[str]]:
        consumers = [list(names) for names in CONSUMERS]
        if self.wiring.has_tunnels:
            consumers.append([topics.L2POPULATION, topics.UPDATE])
        return consumers

    # -- devices ---------------------------------------------------------------

    def get_all_devices(self) -> set[str]:
        return self.wiring.ports()

    def get_devices_modified_timestamps(self, _devices: Collection[str]) -> dict[str, int]:
        return self.wiring.replugged()

    def setup_arp_spoofing_protection(
        self, device: str, device_details: Mapping[str, Any]
    ) -> None:
        """Set all that a port lets through, its administrative state included."""
        self.wiring.secure(device, port_security(device_details))

    def plug_interface(
        self, network_id: str, network_segment: Any, _device: str, _device_owner: str
    ) -> bool:
        """Wire the port's network; the port is on it already."""
        segment = Segment(
            network_segment.network_type,
            network_segment.physical_network,
            network_segment.segmentation_id,
        )
        self.wiring.networks.wire(network_id, segment, network_segment.mtu)
        return True

    def ensure_port_admin_state(self, device: str, admin_state_up: bool) -> None:
        """Done with the port's security."""

    def delete_arp_spoofing_protection(self, devices: Collection[str]) -> None:
        """Forget ports that have gone; the daemon's rules went with them."""
        self.wiring.forget_ports(devices)

    def delete_unreferenced_arp_protection(self, current_devices: Collection[str]) -> None:
        """There is nothing that outlives its port."""
