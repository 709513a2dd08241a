# SPDX-License-Identifier: Apache-2.0
"""What to do to get from one state to another: pure, and the only place that knows.

A start is ``diff(desired, State())``, and every later change goes the same
way.  What is the same in both states is not mentioned, so it is not touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.model import Network, Port, Uplink


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkAdd:
    """Add *network* without its uplinks."""

    network: Network

    @property
    def subject(self) -> str:
        """Who it happens to, for people and as a key."""
        return network_subject(self.network.name)


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkUpdate:
    """Give *network* and the uplinks it keeps a new MTU."""

    network: Network

    @property
    def subject(self) -> str:
        return network_subject(self.network.name)


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkRemove:
    """Remove a network that has nothing left on it."""

    name: str

    @property
    def subject(self) -> str:
        return network_subject(self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class UplinkAdd:
    """Join *uplink* to *network*."""

    network: Network
    uplink: Uplink

    @property
    def subject(self) -> str:
        return uplink_subject(self.network.name, self.uplink)


@dataclasses.dataclass(frozen=True, slots=True)
class UplinkRemove:
    """Part *uplink* from the network called *network*."""

    network: str
    uplink: Uplink

    @property
    def subject(self) -> str:
        return uplink_subject(self.network, self.uplink)


@dataclasses.dataclass(frozen=True, slots=True)
class PortAdd:
    """Serve a port."""

    entry: Entry

    @property
    def subject(self) -> str:
        return port_subject(self.entry.port.id)


@dataclasses.dataclass(frozen=True, slots=True)
class PortUpdate:
    """Take over what does not touch the traffic."""

    entry: Entry

    @property
    def subject(self) -> str:
        return port_subject(self.entry.port.id)


@dataclasses.dataclass(frozen=True, slots=True)
class PortRemove:
    """Close a port."""

    port: Port

    @property
    def subject(self) -> str:
        return port_subject(self.port.id)


Action = (
    NetworkAdd
    | NetworkUpdate
    | NetworkRemove
    | UplinkAdd
    | UplinkRemove
    | PortAdd
    | PortUpdate
    | PortRemove
)


def port_subject(id: str) -> str:
    """Return the subject of a port's actions."""
    return f"port {id}"


def network_subject(name: str) -> str:
    """Return the subject of a network's actions."""
    return f"network {name}"


def uplink_subject(network: str, uplink: Uplink) -> str:
    """Return the subject of an uplink's actions."""
    return f"{uplink.kind.value} {uplink.name} of network {network}"


def diff(desired: State, actual: State) -> list[Action]:
    """Return the actions that turn *actual* into *desired*, in an order that works.

    Everything goes before anything comes: a port may take the path, or an
    uplink the interface, that another one has just left.
    """
    return [
        *_port_removes(desired, actual),
        *_uplink_removes(desired, actual),
        *_network_removes(desired, actual),
        *_network_adds(desired, actual),
        *_network_updates(desired, actual),
        *_uplink_adds(desired, actual),
        *_port_adds(desired, actual),
        *_port_updates(desired, actual),
    ]


def _restarts(new: Entry, old: Entry) -> bool:
    """Tell whether the port must be closed and opened to get from *old* to *new*."""
    return not new.port.same_datapath(old.port) or new.offer != old.offer


def _port_removes(desired: State, actual: State) -> Iterator[Action]:
    for id, old in actual.ports.items():
        new = desired.ports.get(id)
        if new is None or (new is not old and _restarts(new, old)):
            yield PortRemove(old.port)


def _port_adds(desired: State, actual: State) -> Iterator[Action]:
    for id, new in desired.ports.items():
        old = actual.ports.get(id)
        if old is None or (new is not old and _restarts(new, old)):
            yield PortAdd(new)


def _port_updates(desired: State, actual: State) -> Iterator[Action]:
    for id, new in desired.ports.items():
        old = actual.ports.get(id)
        if old is not None and new is not old and new != old and not _restarts(new, old):
            yield PortUpdate(new)


def _uplinks(state: State, network: str) -> tuple[Uplink, ...]:
    found = state.networks.get(network)
    return found.uplinks if found else ()


def _uplink_removes(desired: State, actual: State) -> Iterator[Action]:
    for network in actual.networks.values():
        kept = _uplinks(desired, network.name)
        yield from (UplinkRemove(network.name, u) for u in network.uplinks if u not in kept)


def _uplink_adds(desired: State, actual: State) -> Iterator[Action]:
    for network in desired.networks.values():
        present = _uplinks(actual, network.name)
        yield from (UplinkAdd(network, u) for u in network.uplinks if u not in present)


def _network_removes(desired: State, actual: State) -> Iterator[Action]:
    yield from (NetworkRemove(name) for name in actual.networks if name not in desired.networks)


def _network_adds(desired: State, actual: State) -> Iterator[Action]:
    yield from (NetworkAdd(n) for n in desired.networks.values() if n.name not in actual.networks)


def _network_updates(desired: State, actual: State) -> Iterator[Action]:
    for network in desired.networks.values():
        old = actual.networks.get(network.name)
        if old is not None and old.mtu != network.mtu:
            yield NetworkUpdate(network)
