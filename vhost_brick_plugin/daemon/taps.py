# SPDX-License-Identifier: Apache-2.0
"""The kernel interfaces behind uplinks: who uses which, and when one is made, fitted, removed.

A tap that networks share by VLAN is made for the first of them, is as wide as
the widest, and goes with the last.  Belongs to the datapath's thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from vhost_brick_plugin.model import Network, Uplink, UplinkKind

User = tuple[str, int | None]
"""A network's name, and its VLAN on the tap."""


class Links(Protocol):
    """What :mod:`vhost_brick_plugin.netlink` does for uplinks."""

    def ensure_tap(self, name: str, mtu: int) -> bool:
        """Make a tap exist and be up; tell whether it was made."""

    def remove_tap(self, name: str) -> None:
        """Remove a tap that :meth:`ensure_tap` made."""


class Taps:
    """See the module.  Uplinks that are no taps pass through it unnoticed."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._users: dict[str, dict[User, int]] = {}
        """The MTU that each user of a tap needs, in bytes, by the tap's name."""

    @contextmanager
    def joining(self, network: Network, uplink: Uplink) -> Iterator[None]:
        """Have the interface of *uplink* for *network*; leave it as it was if the block fails.

        :raises errors.UplinkError: it cannot be had.
        """
        if uplink.kind is not UplinkKind.TAP:
            yield
            return
        name, present = uplink.name, self._users.get(uplink.name, {})
        wanted = {**present, (network.name, uplink.vlan): network.mtu}
        made = self._fit(name, present, wanted)
        try:
            yield
        except Exception:
            self._fit(name, wanted, present)
            # One that was there before may carry the operator's addresses: it stays.
            if made:
                self._links.remove_tap(name)
            raise
        self._users[name] = wanted

    @contextmanager
    def resizing(self, network: Network, mtu: int) -> Iterator[None]:
        """Give *network*'s interfaces the width for *mtu*, and the old one if the block fails."""
        before = {u.name: self._users[u.name] for u in network.uplinks if u.name in self._users}
        after = {name: _resized(users, network.name, mtu) for name, users in before.items()}
        try:
            for name, users in after.items():
                self._fit(name, before[name], users)
            yield
        except Exception:
            for name, users in after.items():
                self._fit(name, users, before[name])
            raise
        self._users.update(after)

    def part(self, network: str, uplink: Uplink) -> None:
        """Let go of the interface of *uplink*, which nothing of *network* uses any more.

        :raises errors.UplinkError: it can be neither fitted nor removed; it is let go of
            all the same.
        """
        present = self._users.pop(uplink.name, None)
        if present is None:
            return
        left = {user: mtu for user, mtu in present.items() if user != (network, uplink.vlan)}
        if left:
            self._users[uplink.name] = left
            self._fit(uplink.name, present, left)
        else:
            self._links.remove_tap(uplink.name)

    def _fit(self, name: str, old: Mapping[User, int], new: Mapping[User, int]) -> bool:
        """Go from the width of *old* users to that of *new* ones; tell whether it was made."""
        mtu = max(new.values(), default=0)
        if not mtu or mtu == max(old.values(), default=0):
            return False
        return self._links.ensure_tap(name, mtu)


def _resized(users: Mapping[User, int], network: str, mtu: int) -> dict[User, int]:
    return {user: mtu if user[0] == network else old for user, old in users.items()}
