# SPDX-License-Identifier: Apache-2.0
"""How ports and networks are doing: what is wanted, seen beside what there is.

Belongs to the datapath's thread.
"""

from __future__ import annotations

import time

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon import reconcile
from vhost_brick_plugin.daemon.engine import Engine
from vhost_brick_plugin.daemon.events import FaultBook
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.datapath.base import Datapath, NetworkInfo, PortInfo
from vhost_brick_plugin.model import Network, SessionState
from vhost_brick_plugin.report import NO_TRAFFIC, Fault

_NOT_SERVED = PortInfo(sessions=(), fault="", counters=NO_TRAFFIC)
_NOT_MADE = NetworkInfo(macs_learned=0, drops={})


class Reporter:
    """Puts status together from the engine, the datapath and past events."""

    def __init__(self, engine: Engine, datapath: Datapath, faults: FaultBook) -> None:
        self._engine = engine
        self._datapath = datapath
        self._faults = faults

    def port(self, entry: Entry, desired: State) -> methods.PortStatus:
        """Return the status of a wanted port."""
        id = entry.port.id
        served = id in self._engine.actual.ports
        info = self._datapath.port_info(id) if served else _NOT_SERVED
        fault = self._engine.fault(reconcile.port_subject(id))
        fault = fault or self._faults.explain(id, info.fault, time.time())
        return methods.PortStatus(
            port=entry.port,
            offer=entry.offer,
            state=_port_state(info, fault),
            security=desired.admits(entry.port),
            sessions=info.sessions,
            fault=fault,
            counters=info.counters,
        )

    def network(self, network: Network, desired: State) -> methods.NetworkStatus:
        """Return the status of a wanted network."""
        made = network.name in self._engine.actual.networks
        info = self._datapath.network_info(network.name) if made else _NOT_MADE
        return methods.NetworkStatus(
            network=network,
            ports=desired.ports_of(network.name),
            macs_learned=info.macs_learned,
            drops=info.drops,
            fault=self._network_fault(network),
        )

    def _network_fault(self, network: Network) -> Fault | None:
        subjects = [reconcile.network_subject(network.name)]
        subjects += [reconcile.uplink_subject(network.name, u) for u in network.uplinks]
        setbacks = map(self._engine.fault, subjects)
        faults = (self._faults.uplink(u.name) for u in network.uplinks)
        return next(filter(None, (*setbacks, *faults)), None)


def _port_state(info: PortInfo, fault: Fault | None) -> str:
    if fault is not None:
        return "fault"
    if any(s.state is SessionState.RUNNING for s in info.sessions):
        return "running"
    return "connected" if info.sessions else "waiting"
