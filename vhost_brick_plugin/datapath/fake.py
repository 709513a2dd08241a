# SPDX-License-Identifier: Apache-2.0
"""A datapath without packets: for tests, and for trying out the control side.

Keeps to the text of :mod:`.base` and to nothing else.  Server-mode ports
really listen, so that their sockets can be looked at; nobody accepts.  What
guests and broken hosts would do is done by the methods at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import socket
import time
from collections.abc import Mapping, Sequence

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath.base import (
    Datapath,
    Event,
    NetworkInfo,
    Options,
    PortInfo,
)
from vhost_brick_plugin.model import Mode, Network, Offer, Port, Session, SessionState, Uplink
from vhost_brick_plugin.report import (
    BrickStats,
    Counters,
    GraphEdge,
    GraphNode,
    GraphResult,
    WorkerStats,
)

_MRG_RXBUF, _MQ, _PROTOCOL, _VERSION_1 = 1 << 15, 1 << 22, 1 << 30, 1 << 32

FEATURES = _MRG_RXBUF | _PROTOCOL | _VERSION_1
"""What a port with one queue pair is offered."""

SUPPORTED = FEATURES | _MQ

_NO_TRAFFIC = Counters(
    from_peer_packets=0, from_peer_bytes=0, to_peer_packets=0, to_peer_bytes=0, drops={}
)


@dataclasses.dataclass
class _Port:
    port: Port
    offer: Offer
    listener: socket.socket | None
    sessions: dict[int, Session] = dataclasses.field(default_factory=dict)
    fault: str = ""
    counters: Counters = _NO_TRAFFIC


@dataclasses.dataclass
class _Network:
    network: Network
    uplinks: list[Uplink] = dataclasses.field(default_factory=list)


class FakeDatapath(Datapath):
    """See the module.

    :ivar calls: names of the methods called that change something, with the
        name of what they change, in order.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.options: Options | None = None
        self._stopped = False
        self._networks: dict[str, _Network] = {}
        self._ports: dict[str, _Port] = {}
        self._events: list[Event] = []
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._numbers = itertools.count(1)
        self._failures: dict[tuple[str, str], errors.VhostBrickError] = {}
        self._stalled: tuple[str, ...] = ()

    # -- the contract --------------------------------------------------------

    def start(self, options: Options) -> None:
        self._begin("start", "")
        if self.options is not None:
            raise errors.DatapathError("the datapath was started before")
        self.options = options

    def stop(self) -> None:
        self._begin("stop", "")
        for id in list(self._ports):
            self._close(id)
        self._networks.clear()
        self._stopped = True

    def info(self) -> Mapping[str, str]:
        options = self._running()
        return {
            "datapath": "fake",
            "hugepages": "yes" if options.hugepages else "no",
            "workers": str(len(options.worker_cores) or 1),
        }

    def offer(self, port: Port) -> Offer:
        features = FEATURES | (_MQ if port.queues > 1 else 0)
        return Offer(features=features, queues=port.queues, mtu=port.mtu)

    def network_add(self, network: Network) -> None:
        self._begin("network_add", network.name)
        if network.name in self._networks:
            raise errors.DatapathError(f"network {network.name} exists")
        self._networks[network.name] = _Network(dataclasses.replace(network, uplinks=()))

    def network_update(self, network: Network) -> None:
        self._begin("network_update", network.name)
        self._network(network.name).network = dataclasses.replace(network, uplinks=())

    def network_remove(self, name: str) -> None:
        self._begin("network_remove", name)
        if self._network(name).uplinks or self._ports_of(name):
            raise errors.NetworkInUse(f"network {name} is not empty")
        del self._networks[name]

    def uplink_add(self, network: str, uplink: Uplink) -> None:
        self._begin("uplink_add", uplink.name)
        if any(uplink in other.uplinks for other in self._networks.values()):
            raise errors.UplinkError(f"{uplink.name} is an uplink already")
        self._network(network).uplinks.append(uplink)

    def uplink_remove(self, network: str, uplink: Uplink) -> None:
        self._begin("uplink_remove", uplink.name)
        if uplink not in self._network(network).uplinks:
            raise errors.UplinkError(f"{uplink.name} is no uplink of network {network}")
        self._network(network).uplinks.remove(uplink)

    def port_add(self, port: Port, offer: Offer) -> None:
        self._begin("port_add", port.id)
        self._network(port.network)
        paths = {p.port.socket_path for p in self._ports.values()}
        if port.id in self._ports or port.socket_path in paths:
            raise errors.DatapathError(f"port {port.id} or its path {port.socket_path} exists")
        if lacking := offer.features & ~SUPPORTED:
            raise errors.DatapathError(f"port {port.id}: no support for features {lacking:#x}")
        listener = _listen(port) if port.mode is Mode.SERVER else None
        self._ports[port.id] = _Port(port, offer, listener)

    def port_remove(self, id: str) -> None:
        self._begin("port_remove", id)
        self._port(id)
        self._close(id)

    def port_update(self, port: Port) -> None:
        self._begin("port_update", port.id)
        known = self._port(port.id)
        if not port.same_datapath(known.port):
            raise errors.DatapathError(f"port {port.id}: more than its metadata differs")
        known.port = port

    def event_fd(self) -> int:
        return self._event_fd

    def events(self) -> Sequence[Event]:
        if self._events:
            os.eventfd_read(self._event_fd)
        found, self._events = self._events, []
        return found

    def port_info(self, id: str) -> PortInfo:
        port = self._port(id)
        sessions = tuple(port.sessions.values())
        return PortInfo(sessions=sessions, fault=port.fault, counters=port.counters)

    def network_info(self, name: str) -> NetworkInfo:
        self._network(name)
        return NetworkInfo(macs_learned=0, drops={})

    def brick_stats(self) -> tuple[BrickStats, ...]:
        counters = {f"vhost/{id}": port.counters for id, port in self._ports.items()}
        return tuple(
            BrickStats(
                brick=node.name,
                kind=node.kind,
                network=node.network,
                counters=counters.get(node.name, _NO_TRAFFIC),
            )
            for node in self.graph().nodes
        )

    def worker_stats(self) -> tuple[WorkerStats, ...]:
        cores = self._running().worker_cores or (-1,)
        return tuple(
            WorkerStats(worker=i, core=core, polls=0, busy_polls=0, busy_cycles=0, cycles=0)
            for i, core in enumerate(cores)
        )

    def graph(self) -> GraphResult:
        nodes, edges = [], []
        for name, network in self._networks.items():
            nodes.append(GraphNode(name=f"switch/{name}", kind="switch", network=name))
            for uplink in network.uplinks:
                brick = f"{uplink.kind.value}/{uplink.name}"
                nodes.append(GraphNode(name=brick, kind=uplink.kind.value, network=name))
                edges.append(GraphEdge(a=brick, b=f"switch/{name}"))
        for id, known in self._ports.items():
            name = known.port.network
            nodes.append(GraphNode(name=f"vhost/{id}", kind="vhost", network=name))
            edges.extend(GraphEdge(a=f"vhost/{id}", b=f"switch/{name}") for _ in known.sessions)
        nodes.sort(key=lambda node: node.name)
        return GraphResult(nodes=tuple(nodes), edges=tuple(edges))

    def stalled(self, seconds: float) -> Sequence[str]:
        return self._stalled

    # -- what guests and hosts do --------------------------------------------

    def connect(self, id: str) -> int:
        """Let a frontend connect to a port; return its session's number."""
        number = next(self._numbers)
        self._set_session(id, number, SessionState.CONNECTED, 0, 0)
        self._tell("session_connected", id, number)
        return number

    def run(self, id: str, number: int) -> None:
        """Let a session negotiate all that is on offer and start its rings."""
        offer = self._port(id).offer
        self._set_session(id, number, SessionState.RUNNING, offer.features, offer.queues)
        detail = {"features": f"{offer.features:#x}", "queues": str(offer.queues)}
        self._tell("session_running", id, number, detail)

    def disconnect(self, id: str, number: int) -> None:
        """Let a session's frontend go away."""
        del self._port(id).sessions[number]
        self._tell("session_closed", id, number)

    def break_port(self, id: str, fault: str, message: str, hint: str) -> None:
        """Put a port into a fault, or out of it with an empty *fault*."""
        self._port(id).fault = fault
        detail = {"fault": fault, "message": message, "hint": hint}
        self._tell("fault" if fault else "fault_cleared", id, 0, detail)

    def count(self, id: str, counters: Counters) -> None:
        """Set a port's counters."""
        self._port(id).counters = counters

    def stall(self, *threads: str) -> None:
        """Let *threads* be stuck; none: let all run again."""
        self._stalled = threads

    def fail(self, method: str, name: str, error: errors.VhostBrickError) -> None:
        """Let *method* raise *error* for *name* until :meth:`mend`."""
        self._failures[method, name] = error

    def mend(self) -> None:
        """Let everything work again."""
        self._failures.clear()

    # -- the inside ----------------------------------------------------------

    def _begin(self, method: str, name: str) -> None:
        if self._stopped:
            raise errors.DatapathError("the datapath has been stopped")
        if method != "start":
            self._running()
        self.calls.append((method, name))
        if error := self._failures.get((method, name)):
            raise error

    def _running(self) -> Options:
        if self.options is None:
            raise errors.DatapathError("the datapath has not been started")
        return self.options

    def _network(self, name: str) -> _Network:
        try:
            return self._networks[name]
        except KeyError:
            raise errors.NetworkNotFound(f"the datapath has no network {name}") from None

    def _port(self, id: str) -> _Port:
        try:
            return self._ports[id]
        except KeyError:
            raise errors.PortNotFound(f"the datapath has no port {id}") from None

    def _ports_of(self, network: str) -> list[str]:
        return [id for id, known in self._ports.items() if known.port.network == network]

    def _close(self, id: str) -> None:
        known = self._ports.pop(id)
        for number in known.sessions:
            self._tell("session_closed", id, number)
        if known.listener is not None:
            # QEMU may write to the directory, so the socket may be gone.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(known.port.socket_path)
            known.listener.close()

    def _set_session(
        self, id: str, number: int, state: SessionState, features: int, queues: int
    ) -> None:
        self._port(id).sessions[number] = Session(
            number=number, state=state, features=features, queues=queues, since=time.time()
        )

    def _tell(
        self, kind: str, port: str, session: int, detail: Mapping[str, str] | None = None
    ) -> None:
        event = Event(time=time.time(), kind=kind, port=port, session=session, detail=detail or {})
        self._events.append(event)
        os.eventfd_write(self._event_fd, 1)


def _listen(port: Port) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(port.socket_path)
        listener.listen()
    except OSError as e:
        listener.close()
        raise errors.DatapathError(
            f"port {port.id}: cannot listen on {port.socket_path!r}: {e.strerror}"
        ) from e
    return listener
