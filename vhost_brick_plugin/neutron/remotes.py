# SPDX-License-Identifier: Apache-2.0
"""Which other hosts have a VXLAN network, as Neutron's l2population tells.  Pure.

l2population sends increments to all agents, and the whole list of a network to one agent
whose first port there comes up, or who asks (``refresh_tunnels``).  The list looks like
any increment, and comes not at all where it is empty.  But what follows it is the
announcement of our own host to all, which we hear too: our *echo*.  So at a refresh the
hosts known so far are kept, and those that were not named again some time after the echo
are dropped.  Too many hosts for a while cost some copies of broadcasts; too few, packets.

Not thread-safe: its owner holds a lock.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

LOG = logging.getLogger(__name__)

FLOODING_ENTRY = ("00:00:00:00:00:00", "0.0.0.0")
"""Stands among a host's addresses for all that is flooded: the host itself comes or goes."""

GRACE_S = 300.0
"""From the echo to the end of a refresh.  Messages may overtake each other, and a list lacks
hosts that are resyncing at the same time, such as all of them after an outage of Neutron."""

PATIENCE_S = 60.0
"""Without an echo for so long, nobody seems to send any."""

Hosts = Mapping[str, Collection[Any]]
"""What one message says of one network: (MAC, IP) pairs by the host's tunnel address."""


@dataclasses.dataclass
class _Known:
    """What is known of one network.

    :ivar unconfirmed: those of the remotes that this refresh has not named yet.
    :ivar fresh: a refresh was asked for.
    :ivar ends: when the refresh is complete; None: no echo yet, or none is under way.
    :ivar impatient: when an echo is overdue; None: it came, or none is awaited.
    """

    remotes: set[str]
    unconfirmed: set[str] = dataclasses.field(default_factory=set)
    fresh: bool = False
    ends: float | None = None
    impatient: float | None = None


class Remotes:
    """The other hosts of each network of ours.

    :param local: our own tunnel address.  Hosts of the other address family are left out.
    """

    def __init__(self, local: str) -> None:
        self._local = local
        self._networks: dict[str, _Known] = {}

    def of(self, network: str) -> tuple[str, ...]:
        """Return the other hosts of *network*."""
        known = self._networks.get(network)
        return tuple(known.remotes) if known else ()

    def track(self, network: str, present: Iterable[str]) -> None:
        """Listen for *network* from now on; *present* is what the daemon has from before."""
        self._networks.setdefault(network, _Known(set(present)))

    def forget(self, network: str) -> None:
        """Listen no more."""
        self._networks.pop(network, None)

    # -- what l2population says ------------------------------------------------

    def add(self, network: str, hosts: Hosts, now: float) -> bool:
        """Take in hosts that have *network*; tell whether that changed anything."""
        known = self._networks.get(network)
        if known is None:
            return False
        if self._local in hosts:
            self._hear_echo(known, hosts[self._local], now)
        found = {host for host in hosts if host != self._local and self._reachable(host)}
        changed = not found <= known.remotes
        known.remotes |= found
        known.unconfirmed -= found
        return changed

    def remove(self, network: str, hosts: Hosts) -> bool:
        """Take out hosts whose last port on *network* has gone; tell whether any was known."""
        known = self._networks.get(network)
        if known is None:
            return False
        gone = {h for h, entries in hosts.items() if _names_all(entries)} & known.remotes
        known.remotes -= gone
        known.unconfirmed -= gone
        return bool(gone)

    def _hear_echo(self, known: _Known, entries: Collection[Any], now: float) -> None:
        if known.impatient is not None and _names_all(entries):
            known.impatient, known.ends = None, now + GRACE_S

    def _reachable(self, host: str) -> bool:
        if _family(host) == _family(self._local):
            return True
        LOG.warning(
            "Host %(host)s cannot be reached from %(local)s by VXLAN: give all hosts tunnel "
            "addresses of one family.",
            {"host": host, "local": self._local},
        )
        return False

    # -- refreshes -------------------------------------------------------------

    def begin_refresh(self, network: str, now: float) -> bool:
        """Tell whether *network*'s list has to be asked for, and count on its coming."""
        known = self._networks.get(network)
        if known is None or known.fresh:
            return False
        known.fresh, known.ends, known.impatient = True, None, now + PATIENCE_S
        known.unconfirmed = set(known.remotes)
        return True

    def cancel_refresh(self, network: str) -> None:
        """Nobody could be asked."""
        if known := self._networks.get(network):
            known.fresh, known.ends, known.impatient = False, None, None
            known.unconfirmed = set()

    def expire(self) -> None:
        """Messages may have been lost: have every network refreshed."""
        for network in self._networks:
            self.cancel_refresh(network)

    def settle(self, now: float) -> set[str]:
        """End the refreshes that are due; return the networks that have fewer remotes now."""
        changed = set()
        for network, known in self._networks.items():
            if known.ends is not None and known.ends <= now:
                known.ends = None
                known.remotes -= known.unconfirmed
                if known.unconfirmed:
                    changed.add(network)
                known.unconfirmed = set()
            if known.impatient is not None and known.impatient <= now:
                known.impatient = None
                LOG.warning(
                    "Nobody told which hosts have network %s: is 'l2population' among the "
                    "mechanism_drivers of neutron-server?",
                    network,
                )
        return changed


def _names_all(entries: Collection[Any]) -> bool:
    """Tell whether *entries* are about the host itself, not only some of its ports."""
    return FLOODING_ENTRY in (tuple(entry) for entry in entries)


def _family(address: str) -> int:
    """Return 4 or 6, or 0 for what is no address."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return 0
