# SPDX-License-Identifier: Apache-2.0
"""What to do to get from one state to another: pure, and the only place that knows.

A start is ``diff(desired, State())``, and every later change goes the same
way.  What is the same in both states is not mentioned, so it is not touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.model import Network, Port, PortSecurity, Uplink


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
class UplinkUpdate:
    """Give the tunnel of *network* at *uplink*'s place other remote hosts."""

    network: str
    uplink: Uplink

    @property
    def subject(self) -> str:
        return uplink_subject(self.network, self.uplink)


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
    """Serve a port; its security is the one in force."""

    entry: Entry

    @property
    def subject(self) -> str:
        return port_subject(self.entry.port.id)


@dataclasses.dataclass(frozen=True, slots=True)
class PortUpdate:
    """Take over metadata and security, which is the one in force, and leave sessions alone."""

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
    | UplinkUpdate
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
    return f"{uplink} of network {network}"


def diff(desired: State, actual: State) -> list[Action]:
    """Return the actions that turn *actual* into *desired*, in an order that works.

    Everything goes before anything comes: a port may take the path, or an
    uplink the interface, that another one has just left.  Ports are closed to
    traffic before new uplinks bring any.

    In *desired* a port's security may be null, and comes from its network; in
    *actual* it is the one in force.
    """
    port_removes, port_adds, port_updates = _port_actions(desired, actual)
    return [
        *port_removes,
        *_uplink_removes(desired, actual),
        *_network_removes(desired, actual),
        *_network_adds(desired, actual),
        *_network_updates(desired, actual),
        *port_updates,
        *_uplink_adds(desired, actual),
        *_uplink_updates(desired, actual),
        *port_adds,
    ]


def _port_actions(
    desired: State, actual: State
) -> tuple[list[PortRemove], list[PortAdd], list[PortUpdate]]:
    removes = [PortRemove(e.port) for id, e in actual.ports.items() if id not in desired.ports]
    adds: list[PortAdd] = []
    updates: list[PortUpdate] = []
    for id, new in desired.ports.items():
        old = actual.ports.get(id)
        if new is old:
            continue
        security = desired.admits(new.port)
        if old is None:
            adds.append(PortAdd(_secured(new, security)))
        elif not new.port.same_datapath(old.port) or new.offer != old.offer:
            removes.append(PortRemove(old.port))
            adds.append(PortAdd(_secured(new, security)))
        elif security != old.port.security or new.port.metadata != old.port.metadata:
            updates.append(PortUpdate(_secured(new, security)))
    return removes, adds, updates


def _secured(entry: Entry, security: PortSecurity) -> Entry:
    """Return *entry*, itself if may be, with *security* in force."""
    if entry.port.security is not None:
        return entry
    return dataclasses.replace(entry, port=dataclasses.replace(entry.port, security=security))


def _uplinks(state: State, network: str) -> tuple[Uplink, ...]:
    found = state.networks.get(network)
    return found.uplinks if found else ()


def _uplink_removes(desired: State, actual: State) -> Iterator[Action]:
    for network in actual.networks.values():
        kept = {u.place for u in _uplinks(desired, network.name)}
        yield from (UplinkRemove(network.name, u) for u in network.uplinks if u.place not in kept)


def _uplink_adds(desired: State, actual: State) -> Iterator[Action]:
    # The widest first: some devices cannot grow any more once they run.
    for network in sorted(desired.networks.values(), key=lambda n: n.mtu, reverse=True):
        present = {u.place for u in _uplinks(actual, network.name)}
        yield from (UplinkAdd(network, u) for u in network.uplinks if u.place not in present)


def _uplink_updates(desired: State, actual: State) -> Iterator[Action]:
    for network in desired.networks.values():
        present = {u.place: u for u in _uplinks(actual, network.name)}
        yield from (
            UplinkUpdate(network.name, u) for u in network.uplinks if u != present.get(u.place, u)
        )


def _network_removes(desired: State, actual: State) -> Iterator[Action]:
    yield from (NetworkRemove(name) for name in actual.networks if name not in desired.networks)


def _network_adds(desired: State, actual: State) -> Iterator[Action]:
    yield from (NetworkAdd(n) for n in desired.networks.values() if n.name not in actual.networks)


def _network_updates(desired: State, actual: State) -> Iterator[Action]:
    for network in desired.networks.values():
        old = actual.networks.get(network.name)
        if old is not None and old.mtu != network.mtu:
            yield NetworkUpdate(network)
