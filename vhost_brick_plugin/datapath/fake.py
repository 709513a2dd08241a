# SPDX-License-Identifier: Apache-2.0
"""A datapath without packets: for tests, and for trying out the control side.

Keeps to the text of :mod:`.base` and to nothing else.  Server-mode ports
really listen, so that their sockets can be looked at; nobody accepts.  What
guests and broken hosts would do is done by the methods at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import shape
from vhost_brick_plugin.datapath.base import (
    Abilities,
    Datapath,
    Event,
    Followed,
    NetworkInfo,
    Options,
    PortInfo,
    TakeOver,
)
from vhost_brick_plugin.datapath.fake_lead import Follower, Known, Leader
from vhost_brick_plugin.datapath.fake_probes import Probes
from vhost_brick_plugin.model import (
    MAX_QUEUE_PAIRS,
    Mode,
    Network,
    Offer,
    Port,
    PortSecurity,
    Session,
    SessionState,
    Uplink,
    UplinkKind,
)
from vhost_brick_plugin.probes import CaptureOptions, Direction, Filter, Traced, TracedPacket
from vhost_brick_plugin.report import (
    NO_TRAFFIC,
    BrickStats,
    BufferStats,
    Counters,
    GraphResult,
    WorkerStats,
)

_MRG_RXBUF, _MQ, _PROTOCOL, _VERSION_1 = 1 << 15, 1 << 22, 1 << 30, 1 << 32

FEATURES = _MRG_RXBUF | _PROTOCOL | _VERSION_1
"""What a port with one queue pair is offered."""

SUPPORTED = FEATURES | _MQ


@dataclasses.dataclass
class _Port:
    port: Port
    offer: Offer
    listener: socket.socket | None
    sessions: dict[int, Session] = dataclasses.field(default_factory=dict)
    fault: str = ""
    counters: Counters = NO_TRAFFIC


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
        self._probes = Probes()
        self._events: list[Event] = []
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ended_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._numbers = itertools.count(1)
        self._failures: dict[tuple[str, str], errors.VhostBrickError] = {}
        self._dormant = False
        self._leader: Leader | None = None
        self._follower: Follower | None = None

    # -- the contract --------------------------------------------------------

    def start(self, options: Options) -> None:
        self._begin("start", "")
        if self.options is not None:
            raise errors.DatapathError("the datapath was started before")
        self.options = options
        self._dormant = options.standby

    def stop(self) -> None:
        self._begin("stop", "")
        for id in list(self._ports):
            self._close(id)
        self._networks.clear()
        self._stop()

    def info(self) -> Mapping[str, str]:
        options = self._running()
        return {
            "datapath": "fake",
            "hugepages": "yes" if options.hugepages else "no",
            "workers": str(len(options.worker_cores) or 1),
            "uplinks": ", ".join(UplinkKind),
            "nics": ", ".join(options.nics),
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
        self._begin("uplink_add", str(uplink))
        wanted = self._network(network)
        if uplink.kind is UplinkKind.NIC:
            self._running().devargs(uplink.name)
        for other, present in self._uplinks():
            if uplink.clashes(present):
                raise errors.UplinkError(f"{uplink} clashes with {present} of network {other}")
        wanted.uplinks.append(uplink)

    def uplink_update(self, network: str, uplink: Uplink) -> None:
        self._begin("uplink_update", str(uplink))
        uplinks, index = self._find_uplink(network, uplink)
        uplinks[index] = uplink

    def uplink_remove(self, network: str, uplink: Uplink) -> None:
        self._begin("uplink_remove", str(uplink))
        uplinks, index = self._find_uplink(network, uplink)
        del uplinks[index]
        device = shape.device(uplink)
        if all(node.name != device for node in self.graph().nodes):
            self._probes.gone(device)

    def port_add(self, port: Port, offer: Offer) -> None:
        self._begin("port_add", port.id)
        self._network(port.network)
        _check_security(port)
        paths = {p.port.socket_path for p in self._ports.values()}
        if port.id in self._ports or port.socket_path in paths:
            raise errors.DatapathError(f"port {port.id} or its path {port.socket_path} exists")
        if lacking := offer.features & ~SUPPORTED:
            raise errors.DatapathError(f"port {port.id}: no support for features {lacking:#x}")
        listening = port.mode is Mode.SERVER and not self._dormant
        self._ports[port.id] = _Port(port, offer, _listen(port) if listening else None)
        self._mirror(port.id)

    def port_remove(self, id: str) -> None:
        self._begin("port_remove", id)
        self._port(id)
        self._close(id)

    def port_update(self, port: Port) -> None:
        self._begin("port_update", port.id)
        known = self._port(port.id)
        _check_security(port)
        if not port.same_datapath(known.port):
            raise errors.DatapathError(f"port {port.id}: more than its security differs")
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
        counters = {shape.vhost(id): port.counters for id, port in self._ports.items()}
        return tuple(
            BrickStats(
                brick=node.name,
                kind=node.kind,
                network=node.network,
                counters=counters.get(node.name, NO_TRAFFIC),
            )
            for node in self.graph().nodes
        )

    def gone_stats(self) -> Counters:
        return NO_TRAFFIC

    def buffer_stats(self) -> BufferStats:
        return BufferStats(total=self._running().mbufs)

    def worker_stats(self) -> tuple[WorkerStats, ...]:
        cores = self._running().worker_cores or (-1,)
        return tuple(
            WorkerStats(
                worker=i, core=core, polls=0, busy_polls=0, busy_cycles=0, cycles=0, sleeps=0
            )
            for i, core in enumerate(cores)
        )

    def graph(self) -> GraphResult:
        ports = (
            shape.PortShape(id=id, network=known.port.network, edges=len(known.sessions))
            for id, known in self._ports.items()
        )
        return shape.graph(self._networks, self._uplinks(), ports)

    def capture_start(self, brick: str, options: CaptureOptions) -> int:
        shape.check_has_peer(self.graph(), brick)
        return self._probes.capture_start(brick, options)

    def capture_deliver(self, number: int, fd: int) -> None:
        self._probes.capture_deliver(number, fd)

    def capture_stop(self, number: int) -> bool:
        return self._probes.capture_stop(number)

    def trace_start(self, brick: str, packets: int, filter: Filter) -> int:
        shape.check_has_peer(self.graph(), brick)
        return self._probes.trace_start(brick, packets, filter)

    def trace_read(self, number: int) -> Traced:
        return self._probes.trace_read(number)

    def trace_stop(self, number: int) -> bool:
        return self._probes.trace_stop(number)

    def abilities(self) -> Abilities:
        return Abilities(features=SUPPORTED, queues=MAX_QUEUE_PAIRS)

    def lead(self, fd: int) -> None:
        if self._leader is not None:
            self._leader.stop()
        self._leader = Leader(fd)
        for id in self._ports:
            self._mirror(id)
        self._leader.tell_all()

    def leading(self) -> bool:
        return self._leader is not None and self._leader.alive

    def follow(self, fd: int) -> None:
        if self._follower is not None:
            self._follower.forget()
        self._follower = Follower(fd)

    def ended_fd(self) -> int:
        return self._ended_fd

    def followed(self) -> Followed:
        if self._follower is None:
            return Followed(in_sync=False, silence_s=None, sessions=0)
        follower = self._follower
        return Followed(
            in_sync=follower.in_sync, silence_s=follower.silence_s, sessions=follower.sessions
        )

    def take_over(self) -> TakeOver:
        self._begin("take_over", "")
        if not self._dormant:
            raise errors.DatapathError("the datapath is no standby")
        self._dormant = False
        known = self._follower.stop() if self._follower else {}
        adopted = sum(self._adopt(id, known.pop(id, None)) for id in self._ports)
        for lost in known.values():
            lost.close()
        return TakeOver(adopted=adopted, closed=sum(len(k.sessions) for k in known.values()))

    def let_go(self) -> None:
        self._begin("let_go", "")
        self._stop()

    # -- what guests and hosts do --------------------------------------------

    def connect(self, id: str) -> int:
        """Let a frontend connect to a port; return its session's number."""
        number = next(self._numbers)
        self._set_session(id, number, SessionState.CONNECTED, 0, 0)
        self._tell("session_connected", port=id, session=number)
        return number

    def run(self, id: str, number: int) -> None:
        """Let a session negotiate all that is on offer and start its rings."""
        offer = self._port(id).offer
        self._set_session(id, number, SessionState.RUNNING, offer.features, offer.queues)
        self._tell_running(id, number, offer.features, offer.queues)

    def disconnect(self, id: str, number: int) -> None:
        """Let a session's frontend go away."""
        del self._port(id).sessions[number]
        self._mirror(id)
        self._tell("session_closed", port=id, session=number)

    def break_port(self, id: str, fault: str, message: str, hint: str) -> None:
        """Put a port into a fault, or out of it with an empty *fault*."""
        self._port(id).fault = fault
        self._tell_fault(fault, message, hint, port=id)

    def break_uplink(self, name: str, fault: str, message: str, hint: str) -> None:
        """Put the interface of an uplink into a fault, or out of it with an empty *fault*."""
        self._tell_fault(fault, message, hint, uplink=name)

    def security(self, id: str) -> PortSecurity | None:
        """Return what a port lets through."""
        return self._port(id).port.security

    def count(self, id: str, counters: Counters) -> None:
        """Set a port's counters."""
        self._port(id).counters = counters

    def pass_frame(self, brick: str, frame: bytes, direction: Direction) -> None:
        """Let captures at *brick* see *frame*."""
        self._probes.capture(brick, frame, direction)

    def pass_traced(self, brick: str, packet: TracedPacket) -> None:
        """Let a trace of *brick* see where *packet* went."""
        self._probes.trace(brick, packet)

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

    def _uplinks(self) -> Iterator[tuple[str, Uplink]]:
        for name, network in self._networks.items():
            yield from ((name, uplink) for uplink in network.uplinks)

    def _find_uplink(self, network: str, wanted: Uplink) -> tuple[list[Uplink], int]:
        uplinks = self._network(network).uplinks
        for index, uplink in enumerate(uplinks):
            if uplink.place == wanted.place:
                return uplinks, index
        raise errors.UplinkError(f"network {network} has no {wanted}")

    def _port(self, id: str) -> _Port:
        try:
            return self._ports[id]
        except KeyError:
            raise errors.PortNotFound(f"the datapath has no port {id}") from None

    def _ports_of(self, network: str) -> list[str]:
        return [id for id, known in self._ports.items() if known.port.network == network]

    def _close(self, id: str) -> None:
        known = self._ports.pop(id)
        self._probes.gone(shape.vhost(id))
        for number in known.sessions:
            self._tell("session_closed", port=id, session=number)
        if self._leader is not None:
            self._leader.tell_gone(id)
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
        self._mirror(id)

    def _stop(self) -> None:
        self._stopped = True
        if self._leader is not None:
            self._leader.stop()

    def _mirror(self, id: str) -> None:
        """Have a standby know what a port has."""
        known = self._ports[id]
        if self._leader is not None:
            self._leader.tell(id, known.sessions.values(), known.listener)

    def _adopt(self, id: str, known: Known | None) -> int:
        """Let a port have what a standby knows of it; return how many sessions that are."""
        mine = self._ports[id]
        if mine.port.mode is Mode.SERVER:
            listener = known.listener if known else None
            mine.listener = listener or _listen_instead(mine.port)
        for session in known.sessions if known else ():
            number = next(self._numbers)
            mine.sessions[number] = dataclasses.replace(session, number=number)
            self._tell("session_adopted", port=id, session=number)
            if session.state is SessionState.RUNNING:
                self._tell_running(id, number, session.features, session.queues)
        return len(mine.sessions)

    def _tell_running(self, id: str, number: int, features: int, queues: int) -> None:
        detail = {"features": f"{features:#x}", "queues": str(queues)}
        self._tell("session_running", port=id, session=number, detail=detail)

    def _tell_fault(self, fault: str, message: str, hint: str, **whose: str) -> None:
        detail = {"fault": fault, "message": message, "hint": hint}
        self._tell("fault" if fault else "fault_cleared", detail=detail, **whose)

    def _tell(self, kind: str, **more: Any) -> None:
        self._events.append(Event(time=time.time(), kind=kind, **more))
        os.eventfd_write(self._event_fd, 1)


def _check_security(port: Port) -> None:
    if port.security is None:
        raise errors.DatapathError(f"port {port.id}: nobody said what it lets through")


def _listen_instead(port: Port) -> socket.socket:
    """Listen in place of somebody who died."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        if sock.connect_ex(port.socket_path) == errno.ECONNREFUSED:
            os.unlink(port.socket_path)
    return _listen(port)


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
