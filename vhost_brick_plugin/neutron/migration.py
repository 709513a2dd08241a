# SPDX-License-Identifier: Apache-2.0
"""Ports of a live migration that has not arrived yet.

Nova plugs the port at its destination while its binding there is inactive.  For such a
port Neutron's usual RPC answers no more than that, so the agent pulls the port itself, and
wires it ahead: when the guest moves there is nothing left to do but to tell the other hosts.
"""

from __future__ import annotations

from typing import Any

from neutron.api.rpc.callbacks import resources
from neutron.api.rpc.handlers import resources_rpc


def arriving_port(context: Any, port_id: str, host: str) -> dict[str, Any] | None:
    """Return what ``get_device_details`` would say, were the binding on *host* active.

    :returns: None if the port has no binding on *host*.
    """
    port = _find(context, resources.PORT, port_id)
    levels = [level for level in (port.binding_levels if port else ()) if level.host == host]
    if not levels:
        return None
    segment = max(levels, key=lambda level: level.level).segment
    network = _find(context, resources.NETWORK, port.network_id)
    return {
        "device": port_id,
        "port_id": port_id,
        "network_id": port.network_id,
        "network_type": segment.network_type,
        "physical_network": segment.physical_network,
        "segmentation_id": segment.segmentation_id,
        "mtu": network.mtu,
        "mac_address": str(port.mac_address),
        "device_owner": port.device_owner,
        "admin_state_up": port.admin_state_up,
        "port_security_enabled": port.security is None or port.security.port_security_enabled,
        "fixed_ips": [{"ip_address": str(ip.ip_address)} for ip in port.fixed_ips],
        "allowed_address_pairs": [
            {"mac_address": str(pair.mac_address), "ip_address": str(pair.ip_address)}
            for pair in port.allowed_address_pairs
        ],
    }


def _find(context: Any, kind: str, id: str) -> Any:
    """Return a resource, or None; not by ``pull``, which no server answers for these kinds."""
    api = resources_rpc.ResourcesPullRpcApi()
    found = api.bulk_pull(context, kind, filter_kwargs={"id": id})
    return found[0] if found else None
