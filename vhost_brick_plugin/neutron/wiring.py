# SPDX-License-Identifier: Apache-2.0
"""Makes the daemon's ports what Neutron wants them to be, and knows what there is.

A port's wiring has two halves: its security, then its network's uplinks.  In that order,
a port on a network that Nova's plug made, which is isolated, is never open to the outside.
Everything is an *ensure* call that is left out where the daemon has it already, so that a
resync disturbs nothing.

Every public method may be called from any thread: the loop's, and those of RPC.
"""

from __future__ import annotations

import os.path
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.model import CLOSED, PortSecurity
from vhost_brick_plugin.neutron import constants
from vhost_brick_plugin.neutron.networks import Networks
from vhost_brick_plugin.neutron.segments import Outside
from vhost_brick_plugin.neutron.view import View
from vhost_brick_plugin.neutron.watch import Watcher


class Wiring:
    """Knows what Neutron wants on this host, and has the daemon do it.

    :param outside: what joins this host to others.
    :param watcher: tells what of the daemon to look at; not started yet.
    :ivar networks: its other half.
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
        self._lock = threading.RLock()
        self._view = View(client)
        self.networks = Networks(client, outside, self._view, self._lock, clock)
        self._security: dict[str, PortSecurity] = {}
        self._replugged: dict[str, int] = {}
        self._datapath: dict[str, str] = {}
        self._watcher = watcher

    def start(self) -> None:
        """Begin to follow the daemon."""
        self._watcher.start()

    def stop(self) -> None:
        """Follow it no more."""
        self._watcher.stop()

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
                    self.networks.renew()
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

    def forget_ports(self, port_ids: Collection[str]) -> None:
        """Drop what is known of ports that have gone."""
        with self._lock:
            for id in port_ids:
                self._security.pop(id, None)
                self._replugged.pop(id, None)
