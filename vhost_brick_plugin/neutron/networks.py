# SPDX-License-Identifier: Apache-2.0
"""Makes the daemon's networks what Neutron wants them to be.

A network is the agent's from its first port to its last: the agent gives it uplinks and
MTU, has ports without a security of their own pass nothing, and removes it.

Every public method may be called from any thread, but for :meth:`Networks.renew`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.model import Network
from vhost_brick_plugin.neutron.remotes import Hosts, Remotes
from vhost_brick_plugin.neutron.segments import Outside, Segment
from vhost_brick_plugin.neutron.view import View

LOG = logging.getLogger(__name__)

DEFAULT_MTU = 1500


@dataclasses.dataclass(frozen=True)
class Wish:
    """How Neutron wants a network."""

    segment: Segment
    mtu: int


class Networks:
    """Knows how Neutron wants the networks of this host, and has the daemon do it.

    :param outside: what joins this host to others.
    :param lock: guards *view*, and everything here.
    """

    def __init__(
        self,
        client: Client,
        outside: Outside,
        view: View,
        lock: contextlib.AbstractContextManager[object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._outside = outside
        self._view = view
        self._lock = lock
        self._clock = clock
        self._remotes = Remotes(outside.local_ip)
        self._wishes: dict[str, Wish] = {}

    def wire(self, name: str, segment: Segment, mtu: int | None) -> None:
        """Give a network its uplinks and MTU (bytes).

        :raises errors.UplinkError: this host cannot have such a segment.
        :raises errors.VhostBrickError: the daemon refused, or did not answer.
        """
        with self._lock:
            self._outside.uplinks(segment)
            self._wishes[name] = Wish(segment, mtu or DEFAULT_MTU)
            if segment.type == "vxlan":
                self._remotes.track(name, self._present_remotes(name))
            self._ensure(name)

    def resize(self, name: str, mtu: int) -> None:
        """Give a network another MTU, if it is one of ours."""
        with self._lock:
            if wish := self._wishes.get(name):
                self._wishes[name] = dataclasses.replace(wish, mtu=mtu)
                self._ensure(name)

    def remove_idle(self) -> None:
        """Remove the networks that have no port any more.

        :raises errors.VhostBrickError: the daemon refused, or did not answer.
        """
        with self._lock:
            for name in self._view.idle_networks():
                try:
                    self._client.call(methods.NetworkRemove(network=name))
                except errors.NetworkInUse:
                    continue  # Nova has plugged a port just now, and its event is on the way.
                self._view.networks.pop(name)
                self._forget(name)

    def renew(self) -> None:
        """Make good what the daemon missed while it was away; the lock is held."""
        used = {port.network for port in self._view.ports.values()}
        for name in list(self._wishes):
            if name in used:
                self._ensure_soon(name)
            else:
                self._forget(name)

    # -- hosts at the other ends of tunnels --------------------------------------

    def add_hosts(self, entries: Mapping[str, Hosts]) -> None:
        """Take in hosts that have a network of ours, by network."""
        with self._lock:
            for name, hosts in entries.items():
                if self._remotes.add(name, hosts, self._clock()):
                    self._ensure_soon(name)

    def remove_hosts(self, entries: Mapping[str, Hosts]) -> None:
        """Take out hosts that have a network no more, by network."""
        with self._lock:
            for name, hosts in entries.items():
                if self._remotes.remove(name, hosts):
                    self._ensure_soon(name)

    def begin_refresh(self, name: str) -> bool:
        """Tell whether Neutron has to be asked which hosts have a network."""
        with self._lock:
            return self._remotes.begin_refresh(name, self._clock())

    def cancel_refresh(self, name: str) -> None:
        """It could not be asked."""
        with self._lock:
            self._remotes.cancel_refresh(name)

    def expire_hosts(self) -> None:
        """Messages may have been lost: have it asked again."""
        with self._lock:
            self._remotes.expire()

    def settle_hosts(self) -> None:
        """Drop hosts that have a network no more; to be called every few seconds."""
        with self._lock:
            for name in self._remotes.settle(self._clock()):
                self._ensure_soon(name)

    # -- how it is done ----------------------------------------------------------

    def _ensure(self, name: str) -> None:
        wish = self._wishes[name]
        uplinks = self._outside.uplinks(wish.segment, self._remotes.of(name))
        wanted = Network(name=name, mtu=wish.mtu, uplinks=uplinks, guarded=True)
        if self._view.networks.get(name) == wanted:
            return
        request = methods.NetworkEnsure(network=name, mtu=wish.mtu, uplinks=uplinks, guarded=True)
        self._view.networks[name] = self._client.call(request).network

    def _ensure_soon(self, name: str) -> None:
        """Ensure a network now; if nobody is there, the next connection does it."""
        try:
            self._ensure(name)
        except errors.VhostBrickError as error:
            LOG.warning("Network %(network)s: %(error)s", {"network": name, "error": error})

    def _forget(self, name: str) -> None:
        self._wishes.pop(name, None)
        self._remotes.forget(name)

    def _present_remotes(self, name: str) -> tuple[str, ...]:
        """Return the hosts that the daemon has for a network: from before our start."""
        network = self._view.networks.get(name)
        tunnels = (uplink.tunnel for uplink in (network.uplinks if network else ()))
        return tuple(host for tunnel in tunnels if tunnel for host in tunnel.remotes)
