# SPDX-License-Identifier: Apache-2.0
"""A set of networks and ports: what is wanted, or what the datapath has.

Values; every change makes a new one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from vhost_brick_plugin.model import CLOSED, Network, Offer, Port, PortSecurity

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A port and what it has offered to its VM."""

    port: Port
    offer: Offer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Networks by name and ports by id."""

    networks: Mapping[str, Network] = dataclasses.field(default_factory=dict)
    ports: Mapping[str, Entry] = dataclasses.field(default_factory=dict)

    def with_network(self, network: Network) -> State:
        """Return this state with *network*, new or in place of the one of its name."""
        return dataclasses.replace(self, networks={**self.networks, network.name: network})

    def without_network(self, name: str) -> State:
        """Return this state without the network *name*."""
        return dataclasses.replace(self, networks=_without(self.networks, name))

    def with_port(self, entry: Entry) -> State:
        """Return this state with *entry*, new or in place of the one of its id."""
        return dataclasses.replace(self, ports={**self.ports, entry.port.id: entry})

    def without_port(self, id: str) -> State:
        """Return this state without the port *id*."""
        return dataclasses.replace(self, ports=_without(self.ports, id))

    def without_idle_networks(self) -> State:
        """Return this state without the implicit networks that have no port."""
        used = {entry.port.network for entry in self.ports.values()}
        idle = [n.name for n in self.networks.values() if n.implicit and n.name not in used]
        state = self
        for name in idle:
            state = state.without_network(name)
        return state

    def without_uplinks(self) -> State:
        """Return this state as a standby may have it."""
        networks = {
            name: dataclasses.replace(n, uplinks=()) if n.uplinks else n
            for name, n in self.networks.items()
        }
        return dataclasses.replace(self, networks=networks)

    def admits(self, port: Port) -> PortSecurity:
        """Return what *port* lets through here; nothing while its network is missing."""
        network = self.networks.get(port.network)
        return port.admits(network) if network else CLOSED

    def ports_of(self, network: str) -> tuple[str, ...]:
        """Return the ids of the ports on *network*, sorted."""
        return tuple(
            sorted(id for id, entry in self.ports.items() if entry.port.network == network)
        )


def _without(items: Mapping[str, T], key: str) -> dict[str, T]:
    return {k: v for k, v in items.items() if k != key}
