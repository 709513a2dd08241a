# SPDX-License-Identifier: Apache-2.0
"""What each method of the control API does to networks and ports.

Belongs to the datapath's thread: one request at a time, so nothing here needs
a lock, and a request that fails leaves everything as it was.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Collection
from typing import Any

from vhost_brick_plugin import errors, features, model
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon import checks, events, reconcile
from vhost_brick_plugin.daemon.engine import Engine
from vhost_brick_plugin.daemon.lives import Lives
from vhost_brick_plugin.daemon.settings import Settings
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.daemon.status import Reporter
from vhost_brick_plugin.daemon.store import Store
from vhost_brick_plugin.datapath.base import Datapath
from vhost_brick_plugin.model import Network, Port
from vhost_brick_plugin.report import GraphResult

LOG = logging.getLogger(__name__)

IMPLICIT_MTU = 1500
"""Of a network that a port made without saying an MTU."""

_PORT_FIELDS = ("mode", "socket_path", "mac", "mtu", "queues", "security", "metadata")
"""What a request may leave open."""


class Service:
    """Answers requests.

    :param desired: what is stored.
    :param emit: takes the events that happen.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        datapath: Datapath,
        desired: State,
        emit: Callable[[methods.Event], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._datapath = datapath
        self._desired = desired
        self._emit = emit
        self._faults = events.FaultBook()
        self._lives = Lives()
        for id in desired.ports:
            self._lives.note(methods.Event(time=time.time(), kind="port_restored", port=id))
        self._report = Reporter(engine, datapath, self._faults)
        self.handlers: dict[str, Callable[[Any], Any]] = {
            methods.NetworkEnsure.name: self.network_ensure,
            methods.NetworkRemove.name: self.network_remove,
            methods.NetworkListCall.name: self.network_list,
            methods.PortEnsure.name: self.port_ensure,
            methods.PortRemove.name: self.port_remove,
            methods.PortListCall.name: self.port_list,
            methods.PortShow.name: self.port_show,
            methods.Stats.name: self.stats,
            methods.Graph.name: self.graph,
        }

    # -- networks ------------------------------------------------------------

    def network_ensure(self, request: methods.NetworkEnsure) -> methods.NetworkStatus:
        """Make a network exist as described."""
        network = Network(
            name=request.network,
            mtu=request.mtu,
            uplinks=request.uplinks,
            guarded=request.guarded,
        )
        present = self._desired.networks.get(network.name)
        subjects = _network_subjects(network)
        if network == present:
            self._engine.retry(self._desired, subjects)
        else:
            checks.check_network(network, self._desired, self._settings.options)
            self._commit(self._desired.with_network(network), subjects)
            self._tell("network_changed" if present else "network_added", network=network.name)
        return self._report.network(network, self._desired)

    def network_remove(self, request: methods.NetworkRemove) -> methods.Done:
        """Remove a network without ports."""
        name = request.network
        if name not in self._desired.networks:
            return methods.Done(existed=False)
        if ports := self._desired.ports_of(name):
            shown = ", ".join(ports[:3]) + (" ..." if len(ports) > 3 else "")
            raise errors.NetworkInUse(f"network {name} has {len(ports)} port(s): {shown}")
        subjects = _network_subjects(self._desired.networks[name])
        self._commit(self._desired.without_network(name), subjects)
        self._tell("network_removed", network=name)
        return methods.Done(existed=True)

    def network_list(self, _request: methods.NetworkListCall) -> methods.NetworkList:
        """List networks."""
        networks = sorted(self._desired.networks.values(), key=lambda n: n.name)
        return methods.NetworkList(
            networks=tuple(self._report.network(n, self._desired) for n in networks)
        )

    # -- ports ---------------------------------------------------------------

    def port_ensure(self, request: methods.PortEnsure) -> methods.PortStatus:
        """Make a port exist as described."""
        present = self._desired.ports.get(request.id)
        if present is None and request.must_exist:
            raise errors.PortNotFound(f"there is no port {request.id}")
        network = self._network_for(request)
        port = self._wanted(request, present, network)
        if present is not None and port == present.port:
            self._engine.retry(self._desired, [reconcile.port_subject(port.id)])
            return self._report.port(present, self._desired)
        checks.check_port(port, present, self._desired, self._settings)
        entry = Entry(port=port, offer=self._offer(port, present))
        after = self._desired
        if network.name not in after.networks:
            after = after.with_network(network)
        after = after.with_port(entry).without_idle_networks()
        self._commit(after, [reconcile.port_subject(port.id)])
        self._tell("port_changed" if present else "port_added", port.id)
        return self._report.port(entry, self._desired)

    def port_remove(self, request: methods.PortRemove) -> methods.Done:
        """Remove a port, if it is the one that is meant."""
        present = self._desired.ports.get(request.id)
        meant = (request.metadata or {}).items()
        if present is None or not meant <= present.port.metadata.items():
            return methods.Done(existed=False)
        after = self._desired.without_port(request.id).without_idle_networks()
        self._commit(after, [reconcile.port_subject(request.id)])
        self._faults.forget_port(request.id)
        self._tell("port_removed", request.id)
        self._lives.forget(request.id)
        return methods.Done(existed=True)

    def port_list(self, request: methods.PortListCall) -> methods.PortList:
        """List ports."""
        if request.network is not None and request.network not in self._desired.networks:
            raise errors.NetworkNotFound(f"there is no network {request.network}")
        entries = sorted(self._desired.ports.values(), key=lambda e: e.port.id)
        return methods.PortList(
            ports=tuple(
                self._report.port(entry, self._desired)
                for entry in entries
                if request.network in (None, entry.port.network)
            )
        )

    def port_show(self, request: methods.PortShow) -> methods.PortStatus:
        """Tell everything about one port."""
        entry = self._desired.ports.get(request.id)
        if entry is None:
            raise errors.PortNotFound(f"there is no port {request.id}")
        status = self._report.port(entry, self._desired)
        return dataclasses.replace(status, life=self._lives.of(request.id))

    # -- the datapath --------------------------------------------------------

    def stats(self, _request: methods.Stats) -> methods.StatsResult:
        """Read all counters."""
        return methods.StatsResult(
            time=time.time(),
            bricks=self._datapath.brick_stats(),
            workers=self._datapath.worker_stats(),
            gone=self._datapath.gone_stats(),
            buffers=self._datapath.buffer_stats(),
        )

    def graph(self, _request: methods.Graph) -> GraphResult:
        """Read the packet graph."""
        return self._datapath.graph()

    def drain_events(self) -> None:
        """Log and pass on what happened in the datapath."""
        for event in self._datapath.events():
            LOG.log(*events.describe(event))
            if event.uplink and event.detail.get("fault") == events.INTERFACE_GONE:
                self._engine.lose(event.uplink, events.fault_of(event))
            else:
                self._faults.note(event)
            self._publish(events.translate(event))

    def retry(self) -> None:
        """Try again what could not be served and is due."""
        for subject in self._engine.retry(self._desired):
            LOG.info("%s is served now", subject)

    def wanted(self) -> State:
        """Return what is stored."""
        return self._desired

    def settle(self) -> None:
        """Have what is stored in all places: after a take-over some may be behind."""
        self._store.settle(self._desired)

    # -- how changes are made ------------------------------------------------

    def _network_for(self, request: methods.PortEnsure) -> Network:
        found = self._desired.networks.get(request.network)
        if found is not None:
            return found
        if not request.create_network:
            raise errors.NetworkNotFound(f"there is no network {request.network!r}")
        mtu = request.mtu if request.mtu is not None else IMPLICIT_MTU
        return Network(name=request.network, mtu=mtu, implicit=True)

    def _wanted(
        self, request: methods.PortEnsure, present: Entry | None, network: Network
    ) -> Port:
        """Return the port that *request* comes to; what it leaves open stays as it is."""
        values = {f: getattr(request, f) for f in _PORT_FIELDS}
        asked = {f: value for f, value in values.items() if value is not None}
        asked["network"] = network.name
        if present is not None:
            return dataclasses.replace(present.port, **asked)
        model.check_name("port", request.id)
        return Port(**{**self._defaults(request.id, network), **asked})

    def _defaults(self, id: str, network: Network) -> dict[str, Any]:
        return {
            "id": id,
            "mode": self._settings.default_mode,
            "socket_path": os.path.join(self._settings.socket_dir, id),
            "mac": model.default_mac(id),
            "mtu": network.mtu,
            "queues": self._settings.max_queues,
        }

    def _offer(self, port: Port, present: Entry | None) -> model.Offer:
        if present is not None and port.same_datapath(present.port):
            return present.offer
        fresh = self._datapath.offer(port)
        if not self._settings.offloads:
            fresh = dataclasses.replace(fresh, features=fresh.features & ~features.OFFLOADS)
        return checks.grow_offer(fresh, present)

    def _commit(self, after: State, subjects: Collection[str]) -> None:
        """Store *after*, then make the datapath follow; on an error nothing has changed."""
        before = self._desired
        self._store.save(after)
        try:
            self._engine.change(before, after, subjects)
        except Exception:
            self._take_back(before)
            raise
        self._desired = after
        if after.networks is not before.networks:
            self._faults.keep_uplinks(_unchanged_uplinks(before, after))

    def _take_back(self, before: State) -> None:
        problem = self._store.try_save(before)
        if problem is not None:
            LOG.error(
                "A change that failed stays in the state file, and would be made at the next "
                "start: %s",
                problem,
            )

    def _tell(self, kind: str, port: str = "", **detail: str) -> None:
        self._publish(methods.Event(time=time.time(), kind=kind, port=port, detail=detail))

    def _publish(self, event: methods.Event) -> None:
        # What is still heard of a port that is gone makes no life.
        if event.port in self._desired.ports:
            self._lives.note(event)
        self._emit(event)


def _network_subjects(network: Network) -> list[str]:
    uplinks = [reconcile.uplink_subject(network.name, u) for u in network.uplinks]
    return [reconcile.network_subject(network.name), *uplinks]


def _unchanged_uplinks(before: State, after: State) -> set[str]:
    """Return the names of interfaces that have not been parted from all their networks."""
    present = {u.place for n in before.networks.values() for u in n.uplinks}
    return {u.name for n in after.networks.values() for u in n.uplinks if u.place in present}
