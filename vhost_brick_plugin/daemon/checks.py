# SPDX-License-Identifier: Apache-2.0
"""Whether a wanted port or network fits what is there: raises, changes nothing."""

from __future__ import annotations

import itertools

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon import sockets
from vhost_brick_plugin.daemon.settings import Settings
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.datapath.base import Abilities, Options
from vhost_brick_plugin.model import Network, Offer, Port, Uplink, UplinkKind


def check_port(port: Port, present: Entry | None, state: State, settings: Settings) -> None:
    """Raise the error that speaks against *port* in place of *present*.

    :raises errors.TooManyQueues: more than the configuration allows, or fewer
        than its VM was offered.
    :raises errors.DuplicateMac: another port of the network has its MAC.
    :raises errors.SocketPathInUse: another port or program has its path.
    :raises errors.InvalidSocketPath: nobody can use its path.
    """
    _check_queues(port, present, settings.max_queues)
    for entry in state.ports.values():
        if entry.port.id != port.id:
            _check_neighbour(port, entry.port)
    if sockets.same(port.socket_path, settings.api_socket):
        raise errors.SocketPathInUse(f"{port.socket_path!r} is the control socket")
    # Where it stays on its path in its mode, the one who listens there is it.
    if present is None or _place(port) != _place(present.port):
        sockets.check(port.socket_path, port.mode)


def check_network(network: Network, state: State, options: Options) -> None:
    """Raise UplinkError if *network* cannot have one of its uplinks.

    That is one that another network has, or a nic that the configuration lacks.
    """
    for uplink in network.uplinks:
        if uplink.kind is UplinkKind.NIC:
            options.devargs(uplink.name)
    others = [n for n in state.networks.values() if n.name != network.name]
    for uplink, other in itertools.product(network.uplinks, others):
        for taken in other.uplinks:
            if uplink.clashes(taken):
                raise errors.UplinkError(
                    f"network {network.name} cannot have {uplink}: network {other.name} has "
                    f"{taken}",
                    hint=_unclash(uplink),
                )


def _unclash(uplink: Uplink) -> str:
    if uplink.kind is UplinkKind.VXLAN:
        return "Give each tunnel a name and a VNI of its own."
    return (
        f"Take it from that network first, or let both share {uplink.name}, each by a VLAN of "
        "its own."
    )


def grow_offer(fresh: Offer, present: Entry | None) -> Offer:
    """Return what a port offers now that it would be offered *fresh*: never less than before."""
    if present is None:
        return fresh
    old = present.offer
    return Offer(
        features=old.features | fresh.features,
        queues=max(old.queues, fresh.queues),
        mtu=max(old.mtu, fresh.mtu),
    )


def check_offers(state: State, abilities: Abilities, who: str) -> None:
    """Raise OfferShrinks if *who*, with *abilities*, cannot give a VM all it was offered."""
    for entry in state.ports.values():
        offer, id = entry.offer, entry.port.id
        if missing := offer.features & ~abilities.features:
            raise errors.OfferShrinks(
                f"port {id}: its VM was offered features {missing:#x} that {who} does not have"
            )
        if offer.queues > abilities.queues:
            raise errors.OfferShrinks(
                f"port {id}: its VM was offered {offer.queues} queue pairs, and {who} has at "
                f"most {abilities.queues}"
            )


def _place(port: Port) -> tuple[str, str]:
    return (port.socket_path, port.mode.value)


def _check_queues(port: Port, present: Entry | None, most: int) -> None:
    offered = present.offer.queues if present else 0
    if port.queues < offered:
        raise errors.TooManyQueues(
            f"port {port.id}: {offered} queue pairs were offered to its VM and cannot be taken "
            f"back; {port.queues} asked for",
            hint="Leave the number as it is, or delete and create the port with the VM off.",
        )
    # A port that was made under a higher limit keeps what it has.
    if port.queues > max(most, offered):
        raise errors.TooManyQueues(
            f"port {port.id}: {port.queues} queue pairs asked for, [vhost] max_queues is {most}"
        )


def _check_neighbour(port: Port, other: Port) -> None:
    if port.mac == other.mac and port.network == other.network:
        raise errors.DuplicateMac(
            f"port {port.id}: {port.mac} is the MAC of port {other.id} on network {port.network}"
        )
    if sockets.same(port.socket_path, other.socket_path):
        raise errors.SocketPathInUse(
            f"port {port.id}: {port.socket_path!r} is the socket of port {other.id}"
        )
