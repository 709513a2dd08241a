# SPDX-License-Identifier: Apache-2.0
"""What the mechanism driver and the agent have to agree about."""

from __future__ import annotations

AGENT_TYPE = "VHost Brick agent"
"""How Neutron tells our agents from others."""

BINARY = "vhost-brick-neutron-agent"

# What the agent reports under `configurations`.
SOCKET_DIR = "socket_dir"
"""The daemon's directory of vhost-user sockets."""
BRIDGE_MAPPINGS = "bridge_mappings"
"""Physical networks, each with its device; Neutron's routed networks read this key too."""
TUNNEL_TYPES = "tunnel_types"
"""Read by l2population too, as is the next."""
TUNNELING_IP = "tunneling_ip"
L2_POPULATION = "l2_population"
DATAPATH = "datapath"
"""How the daemon is doing."""
