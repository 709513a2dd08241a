# SPDX-License-Identifier: Apache-2.0
"""Neutron's RPC: what it tells the agent, and what the agent tells it.

Messages are hints.  What they carry may be out of date by the time it is read, so the loop
asks Neutron for the whole truth about each port that is mentioned.  l2population is the
exception: it has no truth to ask for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import oslo_messaging
from neutron.agent import rpc as agent_rpc
from neutron.api.rpc.handlers import securitygroups_rpc as sg_rpc
from neutron.plugins.ml2.drivers.agent import _agent_manager_base as amb
from neutron.plugins.ml2.drivers.l2pop.rpc_manager import l2population_rpc as l2pop_rpc
from neutron_lib import constants as n_const
from neutron_lib import rpc as n_rpc
from neutron_lib.agent import topics
from neutron_lib.api.definitions import portbindings
from oslo_config import cfg

from vhost_brick_plugin import errors
from vhost_brick_plugin.neutron.wiring import Wiring

LOG = logging.getLogger(__name__)

CANARY_TOPIC = ("vhost-brick", "canary")
"""A queue of our own: other agents of the host may share the others."""


class VhostBrickRpcCallbacks(
    sg_rpc.SecurityGroupAgentRpcCallbackMixin,  # type: ignore[misc]
    l2pop_rpc.L2populationRpcCallBackMixin,  # type: ignore[misc]
    amb.CommonAgentManagerRpcCallBackBase,  # type: ignore[misc]
):
    """What Neutron tells.  Each method runs in a thread of the message bus."""

    target = oslo_messaging.Target(version="1.5")

    def __init__(self, context: Any, agent: Any, sg_agent: Any) -> None:
        super().__init__(context, agent, sg_agent)
        self.updated_devices: set[str] = set()
        self._lock = threading.Lock()

    @property
    def _wiring(self) -> Wiring:
        wiring: Wiring = self.agent.mgr.wiring
        return wiring

    # -- ports and networks ----------------------------------------------------

    def port_update(self, context: Any, **kwargs: Any) -> None:
        """Neutron tells all agents; only some ports are here."""
        self._look_at({kwargs["port"]["id"]})

    def port_delete(self, context: Any, **kwargs: Any) -> None:
        """Nova unplugs it in its own time."""
        port_id = kwargs["port_id"]
        try:
            self._wiring.close(port_id)
        except errors.PortNotFound:
            LOG.debug("Port %s has been unplugged already", port_id)
        except errors.VhostBrickError as error:
            LOG.error(
                "Port %(port)s, which Neutron has deleted, is not closed: %(error)s",
                {"port": port_id, "error": error},
            )

    def binding_activate(self, context: Any, **kwargs: Any) -> None:
        """A live migration has arrived."""
        if kwargs["host"] == cfg.CONF.host:
            self._look_at({kwargs["port_id"]})

    def network_update(self, context: Any, **kwargs: Any) -> None:
        """Its MTU may be another: no other attribute of a network with ports can change."""
        network = kwargs["network"]["id"]
        if not self._wiring.ports_of(network):
            return
        details = self.agent.plugin_rpc.get_network_details(
            self.context, network, self.agent.agent_id, cfg.CONF.host
        )
        try:
            self._wiring.networks.resize(network, details["mtu"])
        except errors.VhostBrickError as error:
            LOG.error(
                "Network %(network)s keeps its MTU: %(error)s",
                {"network": network, "error": error},
            )

    def network_delete(self, context: Any, **kwargs: Any) -> None:
        """It has no ports, so the daemon has it no more either."""
        self.network_map.pop(kwargs["network_id"], None)

    def canary(self, context: Any, **kwargs: Any) -> None:
        """Our own message: see :class:`SelfApi`."""
        self.agent.canary.hear(kwargs["number"])

    def _look_at(self, ports: set[str]) -> None:
        here = ports & self._wiring.ports()
        if here:
            with self._lock:
                self.updated_devices |= here
            self.agent.wake()

    def get_and_clear_updated_devices(self) -> set[str]:
        """Return the ports that were mentioned; Neutron's own is not safe with threads."""
        with self._lock:
            devices, self.updated_devices = self.updated_devices, set()
        return devices

    # -- l2population ----------------------------------------------------------

    def fdb_add(self, context: Any, fdb_entries: Mapping[str, Any]) -> None:
        self._wiring.networks.add_hosts(_hosts(fdb_entries))

    def fdb_remove(self, context: Any, fdb_entries: Mapping[str, Any]) -> None:
        self._wiring.networks.remove_hosts(_hosts(fdb_entries))

    def fdb_update(self, context: Any, fdb_entries: Mapping[str, Any]) -> None:
        """Ports got other addresses, which the bricks learn from their packets."""


def _hosts(fdb_entries: Mapping[str, Any]) -> dict[str, Any]:
    return {network: entry.get("ports", {}) for network, entry in fdb_entries.items()}


class SelfApi:
    """What the agent tells itself."""

    def __init__(self) -> None:
        topic = topics.get_topic_name(topics.AGENT, *CANARY_TOPIC)
        self._client = n_rpc.get_client(oslo_messaging.Target(topic=topic, version="1.5"))

    def cast_canary(self, context: Any, number: int) -> None:
        """Send a message that :class:`Canary` hears when it comes back."""
        self._client.prepare(server=cfg.CONF.host).cast(context, "canary", number=number)


class WiringApi(agent_rpc.PluginApi):  # type: ignore[misc]
    """What the agent tells.

    With the first port of each network it asks l2population which hosts have that
    network; Neutron offers that to no base class's caller.
    """

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(topics.PLUGIN)
        self._wiring = wiring

    def update_device_up(
        self, context: Any, device: str, agent_id: str, host: str | None = None
    ) -> Any:
        network = self._wiring.network_of(device)
        refresh = self._wiring.networks.begin_refresh(network)
        try:
            return self._tell_up(context, device, agent_id, host, refresh)
        except Exception:
            if refresh:
                self._wiring.networks.cancel_refresh(network)
            raise

    def update_device_arriving(self, context: Any, device: str, agent_id: str, host: str) -> Any:
        """Tell that a port is wired whose live migration has not arrived yet."""
        return self._tell_up(context, device, agent_id, host, False)

    def _tell_up(
        self, context: Any, device: str, agent_id: str, host: str | None, refresh: bool
    ) -> Any:
        call: Callable[..., Any] = self.client.prepare(version="1.9").call
        return call(
            context,
            "update_device_up",
            device=device,
            agent_id=agent_id,
            host=host,
            refresh_tunnels=refresh,
        )

    def active_ports(self, context: Any, host: str) -> set[str]:
        """Return the vhost-user ports that are active on *host* for all that Neutron knows."""
        ports = self.get_ports_by_vnic_type_and_host(context, portbindings.VNIC_NORMAL, host)
        wanted = (n_const.PORT_STATUS_ACTIVE, host, portbindings.VIF_TYPE_VHOST_USER)
        keys = ("status", portbindings.HOST_ID, portbindings.VIF_TYPE)
        return {port["id"] for port in ports if tuple(port[key] for key in keys) == wanted}

    def details(
        self, context: Any, devices: Iterable[str], agent_id: str, host: str
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return what Neutron knows of *devices*, and those it failed to tell of."""
        reply = self.get_devices_details_list_and_failed_devices(
            context, list(devices), agent_id, host
        )
        return reply["devices"], reply["failed_devices"]
