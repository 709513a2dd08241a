# SPDX-License-Identifier: Apache-2.0
"""Makes the daemon's networks and ports what Neutron wants them to be.

A port's wiring has two halves: its security, then its network's uplinks.  In that order,
a port on a network that Nova's plug made, which is isolated, is never open to the outside.
Everything is an *ensure* call that is left out where the daemon has it already, so that a
resync disturbs nothing.

Every public method may be called from any thread: the loop's, and those of RPC.
"""

from __future__ import annotations

import dataclasses
import logging
import os.path
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.model import CLOSED, Network, PortSecurity
from vhost_brick_plugin.neutron import constants
from vhost_brick_plugin.neutron.remotes import Hosts, Remotes
from vhost_brick_plugin.neutron.segments import Outside, Segment
from vhost_brick_plugin.neutron.view import View
from vhost_brick_plugin.neutron.watch import Watcher

LOG = logging.getLogger(__name__)

DEFAULT_MTU = 1500


@dataclasses.dataclass(frozen=True)
class Wish:
    """How Neutron wants a network."""

    segment: Segment
    mtu: int


class Wiring:
    """Knows what Neutron wants on this host, and has the daemon do it.

    :param outside: what joins this host to others.
    :param watcher: tells what of the daemon to look at; not started yet.
    """

    def __init__(
        self,
        client: Client,
        outside: Outside,
        watcher: Watcher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._outside = outside
        self._clock = clock
        self._lock = threading.RLock()
        self._view = View(client)
        self._remotes = Remotes(outside.local_ip)
        self._wishes: dict[str, Wish] = {}
        self._security: dict[str, PortSecurity] = {}
        self._replugged: dict[str, int] = {}
        self._datapath: dict[str, str] = {}
        self._watcher = watcher

    def start(self) -> None:
        """Begin to follow the daemon."""
        self._watcher.start()

    # -- what there is ---------------------------------------------------------

    def catch_up(self) -> bool:
        """Take note of what happened to the daemon; tell whether it may have been restarted.

        :raises errors.VhostBrickError: it did not answer; the next call tries again.
        """
        news = self._watcher.take()
        with self._lock:
            try:
                looked_at = self._view.look(news)
                if news.all:
                    self._renew_networks()
            except errors.VhostBrickError:
                self._watcher.give_back(news)
                raise
            for id in looked_at:
                self._compare(id)
        return news.all

    def _compare(self, id: str) -> None:
        """Count the times that a port turned out not to be what we had made of it."""
        port = self._view.ports.get(id)
        if port is not None and id in self._security and port.security != self._security[id]:
            self._replugged[id] = self._replugged.get(id, 0) + 1

    def ports(self) -> set[str]:
        """Return the ids of Neutron's ports on this host, as last seen."""
        with self._lock:
            return set(self._view.ports)

    def ports_of(self, network: str) -> set[str]:
        """Return those of one network."""
        with self._lock:
            return {p.id for p in self._view.ports.values() if p.network == network}

    def network_of(self, port_id: str) -> str:
        """Return the network of a port; empty if it has gone."""
        with self._lock:
            port = self._view.ports.get(port_id)
            return port.network if port else ""

    def replugged(self) -> dict[str, int]:
        """Return, by port, a number that changes when it was plugged anew or tampered with."""
        with self._lock:
            return {id: self._replugged.get(id, 0) for id in self._view.ports}

    def configurations(self) -> dict[str, Any]:
        """Return what Neutron shall know of this host.

        :raises errors.VhostBrickError: the daemon did not answer.
        """
        hello = self._client.call(methods.Hello())
        options = self._client.call(methods.ConfigDump()).options
        self._datapath = {"kind": hello.datapath, "version": hello.version}
        return {
            constants.SOCKET_DIR: os.path.normpath(options["vhost.socket_dir"]),
            constants.BRIDGE_MAPPINGS: {p: str(d) for p, d in self._outside.mappings.items()},
            constants.TUNNEL_TYPES: ["vxlan"] if self.has_tunnels else [],
            constants.TUNNELING_IP: self._outside.local_ip,
            constants.L2_POPULATION: self.has_tunnels,
            constants.DATAPATH: self.datapath(),
        }

    def datapath(self) -> dict[str, str]:
        """Return how the daemon is doing."""
        problem = self._watcher.problem
        return {**self._datapath, "state": "away" if problem else "serving", "problem": problem}

    @property
    def has_tunnels(self) -> bool:
        """Whether this host takes part in VXLAN networks."""
        return bool(self._outside.local_ip)

    # -- what Neutron wants ----------------------------------------------------

    def secure(self, port_id: str, security: PortSecurity) -> None:
        """Set what a port lets through.

        :raises errors.PortNotFound: it has gone.
        :raises errors.VhostBrickError: the daemon refused, or did not answer.
        """
        with self._lock:
            port = self._view.ports.get(port_id)
            if port is None:
                raise errors.PortNotFound(f"there is no port {port_id}")
            if port.security != security:
                request = methods.PortEnsure(
                    id=port_id, network=port.network, security=security, must_exist=True
                )
                try:
                    self._view.note(self._client.call(request))
                except errors.PortNotFound:
                    self._view.ports.pop(port_id, None)
                    raise
            self._security[port_id] = security

    def close(self, port_id: str) -> None:
        """Let nothing through a port that Neutron has no more: its addresses are others' now."""
        with self._lock:
            if port_id in self._view.ports:
                self.secure(port_id, CLOSED)

    def wire(self, network: str, segment: Segment, mtu: int | None) -> None:
        """Give a network its uplinks and MTU (bytes).

        :raises errors.UplinkError: this host cannot have such a segment.
        :raises errors.VhostBrickError: the daemon refused, or did not answer.
        """
        with self._lock:
            self._outside.uplinks(segment)
            self._wishes[network] = Wish(segment, mtu or DEFAULT_MTU)
            if segment.type == "vxlan":
                self._remotes.track(network, self._present_remotes(network))
            self._ensure(network)

    def resize(self, network: str, mtu: int) -> None:
        """Give a network another MTU, if it is one of ours."""
        with self._lock:
            if wish := self._wishes.get(network):
                self._wishes[network] = dataclasses.replace(wish, mtu=mtu)
                self._ensure(network)

    def forget_ports(self, port_ids: Collection[str]) -> None:
        """Drop what is known of ports that have gone."""
        with self._lock:
            for id in port_ids:
                self._security.pop(id, None)
                self._replugged.pop(id, None)

    def remove_idle_networks(self) -> None:
        """Remove the networks that have no port any more."""
        with self._lock:
            for name in self._view.idle_networks():
                try:
                    self._client.call(methods.NetworkRemove(network=name))
                except errors.NetworkInUse:
                    continue  # Nova has plugged a port just now, and its event is on the way.
                self._view.networks.pop(name)
                self._wishes.pop(name, None)
                self._remotes.forget(name)

    # -- tunnels ---------------------------------------------------------------

    def add_hosts(self, entries: Mapping[str, Hosts]) -> None:
        """Take in hosts that have a network of ours, by network."""
        with self._lock:
            for network, hosts in entries.items():
                if self._remotes.add(network, hosts, self._clock()):
                    self._ensure_soon(network)

    def remove_hosts(self, entries: Mapping[str, Hosts]) -> None:
        """Take out hosts that have a network no more, by network."""
        with self._lock:
            for network, hosts in entries.items():
                if self._remotes.remove(network, hosts):
                    self._ensure_soon(network)

    def begin_refresh(self, network: str) -> bool:
        """Tell whether Neutron has to be asked which hosts have *network*."""
        with self._lock:
            return self._remotes.begin_refresh(network, self._clock())

    def cancel_refresh(self, network: str) -> None:
        """It could not be asked."""
        with self._lock:
            self._remotes.cancel_refresh(network)

    def expire_hosts(self) -> None:
        """Messages may have been lost: have it asked again."""
        with self._lock:
            self._remotes.expire()

    def settle_hosts(self) -> None:
        """Drop hosts that have a network no more; to be called every few seconds."""
        with self._lock:
            for network in self._remotes.settle(self._clock()):
                self._ensure_soon(network)

    # -- how networks are made -------------------------------------------------

    def _ensure(self, name: str) -> None:
        wish = self._wishes[name]
        uplinks = self._outside.uplinks(wish.segment, self._remotes.of(name))
        wanted = Network(name=name, mtu=wish.mtu, uplinks=uplinks, guarded=True)
        if self._view.networks.get(name) == wanted:
            return
        request = methods.NetworkEnsure(network=name, mtu=wish.mtu, uplinks=uplinks, guarded=True)
        self._view.networks[name] = self._client.call(request).network

    def _ensure_soon(self, name: str) -> None:
        """Ensure a network now; if that fails, the next connection to the daemon does it."""
        try:
            self._ensure(name)
        except errors.VhostBrickError as error:
            LOG.warning("Network %(network)s: %(error)s", {"network": name, "error": error})

    def _renew_networks(self) -> None:
        """Make good what the daemon missed while it was away."""
        used = {port.network for port in self._view.ports.values()}
        for name in list(self._wishes):
            if name in used:
                self._ensure_soon(name)
            else:
                self._wishes.pop(name)
                self._remotes.forget(name)

    def _present_remotes(self, name: str) -> tuple[str, ...]:
        """Return the hosts that the daemon has for a network: from before our start."""
        network = self._view.networks.get(name)
        tunnels = (uplink.tunnel for uplink in (network.uplinks if network else ()))
        return tuple(host for tunnel in tunnels if tunnel for host in tunnel.remotes)
