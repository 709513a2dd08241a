# SPDX-License-Identifier: Apache-2.0
"""The DPDK datapath: the only importer of the native module.

A thin translation between the project's words and the C API in
``native/include/vhost_brick.h``: names to handles, errno to errors, structs to
dataclasses.  What is subtle is in C.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import base
from vhost_brick_plugin.datapath._native import ffi, lib
from vhost_brick_plugin.datapath.dpdk_log import LogPipe
from vhost_brick_plugin.datapath.eal import eal_args
from vhost_brick_plugin.model import Mode, Network, Offer, Port, Session, SessionState, Uplink
from vhost_brick_plugin.report import (
    BrickStats,
    Counters,
    GraphEdge,
    GraphNode,
    GraphResult,
    WorkerStats,
)

EVENT_KINDS = {
    lib.VB_EVENT_SESSION_CONNECTED: "session_connected",
    lib.VB_EVENT_SESSION_RUNNING: "session_running",
    lib.VB_EVENT_SESSION_STOPPED: "session_stopped",
    lib.VB_EVENT_SESSION_CLOSED: "session_closed",
    lib.VB_EVENT_QUEUES_CHANGED: "queues_changed",
    lib.VB_EVENT_FAULT: "fault",
    lib.VB_EVENT_FAULT_CLEARED: "fault_cleared",
    lib.VB_EVENT_LOST: "lost",
}

NEIGHBOURS_DIR = "neighbours"
"""In the runtime directory: a file a network, see ``native/bricks/neigh.h``."""

HINTS = {
    errno.ENOMEM: "Raise [dpdk] memory_mb, or free memory on the host.",
    errno.ENOSPC: "The vhost library serves 1024 sockets and 1024 frontends; remove some ports.",
    errno.EADDRINUSE: "Remove the file if nothing uses it, or give the port another path.",
    errno.EACCES: "Give vhost-brickd's user write access to the directory.",
    errno.EPERM: "vhost-brickd needs CAP_NET_ADMIN for this.",
    errno.EBUSY: "Another program holds it.",
    errno.EOPNOTSUPP: "Keep the vhost-brickd version that first served the port, "
    "or delete and re-create the port while its VM is off.",
}


def _text(c_string: Any) -> str:
    return str(ffi.string(c_string).decode(errors="replace"))


def _names(function: Any) -> list[str]:
    """Return the names of a C enumeration that ends with NULL."""
    names: list[str] = []
    while (name := function(len(names))) != ffi.NULL:
        names.append(_text(name))
    return names


DROPS = _names(lib.vb_drop_name)
FAULTS = _names(lib.vb_fault_name)


def _check(result: int, what: str) -> None:
    """Raise DatapathError if *result* is a negative errno."""
    if result < 0:
        code = -result
        raise errors.DatapathError(f"{what}: {os.strerror(code)}", hint=HINTS.get(code))


def _drops(raw: Any) -> dict[str, int]:
    return {name: int(raw.drops[i]) for i, name in enumerate(DROPS) if raw.drops[i]}


def _stats(brick: Any) -> Any:
    raw = ffi.new("struct vb_stats *")
    lib.vb_brick_stats(brick, raw)
    return raw


def _counters(brick: Any) -> Counters:
    raw = _stats(brick)
    return Counters(
        from_peer_packets=raw.from_peer_packets,
        from_peer_bytes=raw.from_peer_bytes,
        to_peer_packets=raw.to_peer_packets,
        to_peer_bytes=raw.to_peer_bytes,
        drops=_drops(raw),
    )


class DpdkDatapath(base.Datapath):
    """See the module and :class:`~vhost_brick_plugin.datapath.base.Datapath`."""

    def __init__(self) -> None:
        self._options = base.Options()
        self._networks: dict[str, Network] = {}
        self._switches: dict[str, Any] = {}
        self._uplinks: dict[tuple[str, str], Any] = {}
        self._ports: dict[str, Port] = {}
        self._bricks: dict[str, Any] = {}
        self._guards: dict[str, Any] = {}

    # -- life --

    def start(self, options: base.Options) -> None:
        self._options = options
        if options.runtime_dir:
            memories = os.path.join(options.runtime_dir, NEIGHBOURS_DIR)
            os.makedirs(memories, mode=0o700, exist_ok=True)
        log = LogPipe()
        lib.vb_log_to(log.write_fd)
        result = self._native_start(options)
        if result < 0:
            last = "; ".join(log.last_errors()) or os.strerror(-result)
            raise errors.DatapathError(
                f"DPDK did not start: {last}",
                hint="'vhost-brick doctor' checks memory and hugepages; see group [dpdk].",
            )

    def _native_start(self, options: base.Options) -> int:
        args = [ffi.new("char[]", a.encode()) for a in eal_args(options)]
        workers = options.worker_cores or (-1,)
        control = ffi.new("int32_t[]", list(options.control_cores))
        argv = ffi.new("const char *const[]", args)
        native = ffi.new("struct vb_options *")
        native.eal_args, native.nb_eal_args = argv, len(args)
        native.nb_workers = len(workers)
        if len(workers) > lib.VB_WORKERS_MAX:
            raise errors.ConfigError(
                f"[dpdk] worker_cores names {len(workers)} cores; at most {lib.VB_WORKERS_MAX} "
                "workers are possible"
            )
        for i, core in enumerate(workers):
            native.worker_cores[i] = core
        native.control_cores, native.nb_control_cores = control, len(options.control_cores)
        native.nb_mbufs = options.mbufs
        return int(lib.vb_start(native))

    def stop(self) -> None:
        lib.vb_stop()
        self._networks.clear()
        self._switches.clear()
        self._uplinks.clear()
        self._ports.clear()
        self._bricks.clear()
        self._guards.clear()

    def info(self) -> Mapping[str, str]:
        workers = self._options.worker_cores
        return {
            "dpdk": _text(lib.vb_dpdk_version()),
            "memory": f"{self._options.memory_mb} MiB"
            + (" of hugepages" if self._options.hugepages else ", no hugepages"),
            "workers": ", ".join(f"core {c}" for c in workers) or "1, not pinned",
        }

    # -- networks --

    def network_add(self, network: Network) -> None:
        if network.name in self._networks:
            raise errors.DatapathError(f"the datapath has network {network.name} already")
        config = ffi.new("struct vb_switch_config *")
        config.mac_table_size = self._options.mac_table_size
        config.mac_ageing_s = self._options.mac_ageing_s
        memory = self._neighbours(network.name)
        c_memory = ffi.new("char[]", os.fsencode(memory)) if memory else ffi.NULL
        config.neighbours = c_memory
        out = ffi.new("struct vb_brick **")
        name = f"switch/{network.name}".encode()
        _check(lib.vb_switch_create(name, config, out), f"network {network.name}")
        self._switches[network.name] = out[0]
        self._networks[network.name] = network

    def network_update(self, network: Network) -> None:
        for (name, ifname), brick in self._uplinks.items():
            if name == network.name:
                _check(lib.vb_tap_set_mtu(brick, network.mtu), f"uplink {ifname}")
        self._networks[network.name] = network

    def network_remove(self, name: str) -> None:
        switch = self._switch(name)
        inside = [p.id for p in self._ports.values() if p.network == name]
        inside += [ifname for network, ifname in self._uplinks if network == name]
        if inside:
            raise errors.NetworkInUse(f"network {name} still has {', '.join(sorted(inside))}")
        _check(lib.vb_brick_destroy(switch), f"network {name}")
        del self._switches[name], self._networks[name]
        if memory := self._neighbours(name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(memory)

    def uplink_add(self, network: str, uplink: Uplink) -> None:
        switch = self._switch(network)
        if (network, uplink.name) in self._uplinks:
            raise errors.UplinkError(f"uplink {uplink.name} is on network {network} already")
        out = ffi.new("struct vb_brick **")
        result = lib.vb_tap_create(
            f"tap/{uplink.name}".encode(),
            uplink.name.encode(),
            self._networks[network].mtu,
            switch,
            out,
        )
        if result < 0:
            raise errors.UplinkError(
                f"uplink {uplink.name} of network {network}: {os.strerror(-result)}",
                hint=HINTS.get(-result),
            )
        self._uplinks[network, uplink.name] = out[0]

    def uplink_remove(self, network: str, uplink: Uplink) -> None:
        brick = self._uplinks.get((network, uplink.name))
        if brick is None:
            raise errors.UplinkError(f"network {network} has no uplink {uplink.name}")
        _check(lib.vb_brick_destroy(brick), f"uplink {uplink.name}")
        del self._uplinks[network, uplink.name]

    def uplink_update(self, network: str, uplink: Uplink) -> None:
        raise errors.UplinkError(f"network {network} has no {uplink}")

    def network_info(self, name: str) -> base.NetworkInfo:
        switch = self._switch(name)
        return base.NetworkInfo(
            macs_learned=lib.vb_switch_macs(switch), drops=_drops(_stats(switch))
        )

    def _neighbours(self, network: str) -> str:
        """Return the path of a network's memory of its neighbours, or empty."""
        if not self._options.runtime_dir:
            return ""
        return os.path.join(self._options.runtime_dir, NEIGHBOURS_DIR, network)

    def _switch(self, name: str) -> Any:
        switch = self._switches.get(name)
        if switch is None:
            raise errors.NetworkNotFound(f"the datapath has no network {name}")
        return switch

    # -- ports --

    def offer(self, port: Port) -> Offer:
        return Offer(features=lib.vb_vhost_features(), queues=port.queues, mtu=port.mtu)

    def port_add(self, port: Port, offer: Offer) -> None:
        switch = self._switch(port.network)
        if port.id in self._ports:
            raise errors.DatapathError(f"the datapath has port {port.id} already")
        lacking = offer.features & ~lib.vb_vhost_features()
        if lacking:
            raise errors.DatapathError(
                f"port {port.id}: its VM was offered features {lacking:#x} that this version "
                "does not have",
                hint=HINTS[errno.EOPNOTSUPP],
            )
        config = ffi.new("struct vb_vhost_config *")
        config.path = os.fsencode(port.socket_path)
        config.client = port.mode is Mode.CLIENT
        config.features, config.queues, config.mtu = offer.features, offer.queues, offer.mtu
        out = ffi.new("struct vb_brick **")
        security = ffi.new("struct vb_security *", {"mode": lib.VB_SECURITY_OPEN})
        guard_name = f"antispoof/{port.id}".encode()
        _check(lib.vb_antispoof_create(guard_name, security, switch, out), f"port {port.id}")
        guard = out[0]
        result = lib.vb_vhost_create(f"vhost/{port.id}".encode(), config, guard, out)
        if result < 0:
            lib.vb_brick_destroy(guard)
        _check(result, f"port {port.id} at {port.socket_path}")
        self._bricks[port.id] = out[0]
        self._guards[port.id] = guard
        self._ports[port.id] = port

    def port_remove(self, id: str) -> None:
        brick = self._brick(id)
        _check(lib.vb_brick_destroy(brick), f"port {id}")
        _check(lib.vb_brick_destroy(self._guards[id]), f"port {id}")
        del self._bricks[id], self._guards[id], self._ports[id]

    def port_update(self, port: Port) -> None:
        self._brick(port.id)
        self._ports[port.id] = port

    def port_info(self, id: str) -> base.PortInfo:
        brick = self._brick(id)
        raw = ffi.new("struct vb_session[]", lib.VB_SESSIONS_MAX)
        count = lib.vb_vhost_sessions(brick, raw, len(raw))
        return base.PortInfo(
            sessions=tuple(sorted((_session(raw[i]) for i in range(count)), key=_number)),
            fault=_text(lib.vb_vhost_fault(brick)),
            counters=_counters(brick),
        )

    def _brick(self, id: str) -> Any:
        brick = self._bricks.get(id)
        if brick is None:
            raise errors.PortNotFound(f"the datapath has no port {id}")
        return brick

    # -- what happens --

    def event_fd(self) -> int:
        return int(lib.vb_event_fd())

    def events(self) -> Sequence[base.Event]:
        raw = ffi.new("struct vb_event[]", 256)
        return [_event(raw[i]) for i in range(lib.vb_events(raw, len(raw)))]

    def brick_stats(self) -> tuple[BrickStats, ...]:
        rows = [
            BrickStats(brick=name, kind=kind, network=network, counters=_counters(brick))
            for name, kind, network, brick in self._all()
        ]
        return tuple(rows)

    def worker_stats(self) -> tuple[WorkerStats, ...]:
        rows: list[WorkerStats] = []
        raw = ffi.new("struct vb_worker_stats *")
        while lib.vb_worker_stats(len(rows), raw) == 0:
            rows.append(
                WorkerStats(
                    worker=len(rows),
                    core=raw.core,
                    polls=raw.polls,
                    busy_polls=raw.busy_polls,
                    busy_cycles=raw.busy_cycles,
                    cycles=raw.cycles,
                )
            )
        return tuple(rows)

    def graph(self) -> GraphResult:
        rows = list(self._all())
        nodes = tuple(GraphNode(name=n, kind=k, network=net) for n, k, net, _ in rows)
        edges = tuple(
            GraphEdge(a=name, b=f"switch/{network}")
            for name, kind, network, brick in rows
            if kind != "switch"
            for _ in range(lib.vb_brick_edges(brick))
        )
        return GraphResult(nodes=nodes, edges=edges)

    def stalled(self, seconds: float) -> Sequence[str]:
        found: list[str] = []
        worker = 0
        while (silence := lib.vb_worker_silence(worker)) >= 0:
            if silence > seconds * 1e9:
                found.append(f"worker {worker}")
            worker += 1
        if lib.vb_vhost_callback_age() > seconds * 1e9:
            found.append("vhost event thread")
        return found

    def _all(self) -> list[tuple[str, str, str, Any]]:
        """Return name, kind, network and handle of every brick, sorted by name."""
        rows = [(f"switch/{n}", "switch", n, b) for n, b in self._switches.items()]
        rows += [(f"tap/{i}", "tap", n, b) for (n, i), b in self._uplinks.items()]
        rows += [
            (f"vhost/{i}", "vhost", self._ports[i].network, b) for i, b in self._bricks.items()
        ]
        return sorted(rows, key=lambda row: row[:3])


def _number(session: Session) -> int:
    return session.number


def _session(raw: Any) -> Session:
    return Session(
        number=raw.number,
        state=SessionState.RUNNING if raw.running else SessionState.CONNECTED,
        features=raw.features,
        queues=raw.queues,
        since=raw.since / 1e9,
    )


def _event(raw: Any) -> base.Event:
    kind = EVENT_KINDS[raw.kind]
    _, _, who = _text(raw.brick).partition("/")
    detail: dict[str, str] = {}
    if raw.kind in (lib.VB_EVENT_SESSION_RUNNING, lib.VB_EVENT_QUEUES_CHANGED):
        detail = {"features": f"{raw.features:#x}", "queues": str(raw.queues)}
    elif raw.kind == lib.VB_EVENT_FAULT:
        detail = {
            "fault": FAULTS[raw.fault],
            "message": _text(lib.vb_fault_meaning(raw.fault)),
            "hint": _text(lib.vb_fault_hint(raw.fault)),
        }
    return base.Event(time=raw.time / 1e9, kind=kind, port=who, session=raw.session, detail=detail)
