# SPDX-License-Identifier: Apache-2.0
"""Nova's double of Neutron, which binds ports as our mechanism driver does.

The double itself is Nova's own ``NeutronFixture``, which stands in for
python-neutronclient.  Ours are the networks, which are empty at the start, and what
a binding says: a vhost-user socket of vhost-brickd.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

from nova.tests.fixtures import NeutronFixture
from oslo_utils import uuidutils

Json = dict[str, Any]

NETWORKS = {"blue": "192.168.1", "green": "192.168.2"}
"""Names, and the first three bytes of the addresses."""


class BrickNeutron(NeutronFixture):  # type: ignore[misc]
    """Neutron with the networks of :data:`NETWORKS`.

    :param test: the cloud.
    :param socket_dir: where the sockets of ports are.
    :ivar networks: ids by name.
    :ivar details: what bindings say from now on, beside what they always say.
    """

    def __init__(self, test: Any, socket_dir: Path) -> None:
        super().__init__(test)
        self._socket_dir = socket_dir
        self._numbers = itertools.count(10)
        self._ports = {}
        self._networks = {}
        self._subnets = {}
        self.details: Json = {}
        self.networks = {name: self._add_network(name) for name in NETWORKS}

    def _add_network(self, name: str) -> str:
        subnet = self.subnet_1 | {"id": uuidutils.generate_uuid()}
        network = self.network_1 | {
            "id": uuidutils.generate_uuid(),
            "name": name,
            "subnets": [subnet["id"]],
        }
        prefix = NETWORKS[name]
        subnet |= {
            "network_id": network["id"],
            "cidr": f"{prefix}.0/24",
            "gateway_ip": f"{prefix}.1",
            "allocation_pools": [{"start": f"{prefix}.10", "end": f"{prefix}.254"}],
        }
        self._subnets[subnet["id"]] = subnet
        self._networks[network["id"]] = network
        return str(network["id"])

    def add_port(self, network: str) -> Json:
        """Make a port that no server has yet."""
        body = {"port": {"network_id": self.networks[network]}}
        return dict(self.create_port(body)["port"])

    # -- what Nova calls

    def create_port(self, body: Json | None = None) -> Json:
        asked = copy.deepcopy(body["port"]) if body else {}
        network = self._networks[asked["network_id"]]
        number = next(self._numbers)
        port = {
            "id": uuidutils.generate_uuid(),
            "name": "",
            "admin_state_up": True,
            "status": "DOWN",
            "mac_address": f"fa:16:3e:00:00:{number:02x}",
            "fixed_ips": [
                {
                    "ip_address": f"{NETWORKS[network['name']]}.{number}",
                    "subnet_id": network["subnets"][0],
                }
            ],
            "tenant_id": self.tenant_id,
            "project_id": self.tenant_id,
            "device_id": "",
            "binding:profile": {},
            "binding:vnic_type": "normal",
            "binding:vif_type": "unbound",
            "binding:vif_details": {},
            "port_security_enabled": False,
            "security_groups": [],
        } | asked
        self._ports[port["id"]] = port
        if port.get("binding:host_id"):
            self._bind(port)
        return {"port": copy.deepcopy(port)}

    def update_port(self, port_id: str, body: Json | None = None) -> Json:
        if body and body["port"].get("binding:host_id"):
            self._bind(self._ports[port_id])
        return dict(super().update_port(port_id, body))

    def create_port_binding(self, port_id: str, body: Json) -> Json:
        self._bind(self._ports[port_id])
        return dict(super().create_port_binding(port_id, body))

    def _bind(self, port: Json) -> None:
        port["binding:vif_type"] = "vhostuser"
        port["binding:vif_details"] = {
            "connectivity": "l2",
            "port_filter": False,
            "vhostuser_socket": str(self._socket_dir / port["id"]),
            "vhostuser_mode": "server",
            "vhostuser_fp_plug": True,
            "bridge_name": "vhost-brick",
        } | self.details
