# SPDX-License-Identifier: Apache-2.0
"""What the daemon has of Neutron's, as last seen.

The daemon may serve others too (libvirt, the command line).  Ours are the ports whose id
and network are UUIDs, and the networks that are guarded and named by a UUID.
"""

from __future__ import annotations

import uuid

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.model import Network, Port
from vhost_brick_plugin.neutron.watch import News


class View:
    """Ports and networks by name.  Not thread-safe: its owner holds a lock."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.ports: dict[str, Port] = {}
        self.networks: dict[str, Network] = {}

    def look(self, news: News) -> set[str]:
        """Look at what is new; return the ports looked at, whether there or gone.

        :raises errors.VhostBrickError: the daemon did not answer; nothing is forgotten.
        """
        if news.all:
            return self._look_at_all()
        for id in news.ports:
            try:
                self.note(self._client.call(methods.PortShow(id=id)))
            except errors.PortNotFound:
                self.ports.pop(id, None)
        return set(news.ports)

    def note(self, status: methods.PortStatus) -> None:
        """Take over what the daemon says of a port."""
        port = status.port
        if is_uuid(port.id) and is_uuid(port.network):
            self.ports[port.id] = port
        else:
            self.ports.pop(port.id, None)

    def idle_networks(self) -> list[str]:
        """Return the networks of ours without ports."""
        used = {port.network for port in self.ports.values()}
        return [
            name
            for name, network in self.networks.items()
            if network.guarded and is_uuid(name) and name not in used
        ]

    def _look_at_all(self) -> set[str]:
        ports = self._client.call(methods.PortListCall()).ports
        networks = self._client.call(methods.NetworkListCall()).networks
        before = set(self.ports)
        self.ports.clear()
        for status in ports:
            self.note(status)
        self.networks = {status.network.name: status.network for status in networks}
        return before | set(self.ports)


def is_uuid(text: str) -> bool:
    """Tell whether *text* is a UUID as Neutron writes it."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
