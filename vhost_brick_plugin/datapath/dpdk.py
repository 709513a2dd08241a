# SPDX-License-Identifier: Apache-2.0
"""The DPDK datapath.

A thin translation between the project's words and the C API in
``native/include/vhost_brick.h``: names to handles, errno to errors, structs to
dataclasses.  What is subtle is in C.  Uplinks and ports are in files of their
own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from collections.abc import Mapping, Sequence
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import base, dpdk_c, prelude, shape
from vhost_brick_plugin.datapath.dpdk_c import ffi, lib
from vhost_brick_plugin.datapath.dpdk_log import LogPipe
from vhost_brick_plugin.datapath.dpdk_ports import Ports
from vhost_brick_plugin.datapath.dpdk_probes import Probes
from vhost_brick_plugin.datapath.dpdk_uplinks import Uplinks
from vhost_brick_plugin.datapath.eal import beginning, cards_of
from vhost_brick_plugin.model import Network, Offer, Port, Uplink, UplinkKind
from vhost_brick_plugin.probes import CaptureOptions, Filter, Traced
from vhost_brick_plugin.report import (
    BrickStats,
    BufferStats,
    Counters,
    GraphResult,
    WorkerStats,
    total_drops,
)

LOG = logging.getLogger(__name__)

EVENT_KINDS = {
    lib.VB_EVENT_SESSION_CONNECTED: "session_connected",
    lib.VB_EVENT_SESSION_RUNNING: "session_running",
    lib.VB_EVENT_SESSION_STOPPED: "session_stopped",
    lib.VB_EVENT_SESSION_CLOSED: "session_closed",
    lib.VB_EVENT_QUEUES_CHANGED: "queues_changed",
    lib.VB_EVENT_FAULT: "fault",
    lib.VB_EVENT_FAULT_CLEARED: "fault_cleared",
    lib.VB_EVENT_LOST: "lost",
    lib.VB_EVENT_SESSION_ADOPTED: "session_adopted",
    lib.VB_EVENT_SESSION_NEGOTIATED: "session_negotiated",
}

UPLINK_KINDS = frozenset(kind.value for kind in UplinkKind)

NEIGHBOURS_DIR = "neighbours"
"""In the runtime directory: a file a network, see ``native/bricks/neigh.h``."""


class DpdkDatapath(base.Datapath):
    """See the module and :class:`~vhost_brick_plugin.datapath.base.Datapath`."""

    def __init__(self) -> None:
        self._options = base.Options()
        self._log = LogPipe()
        self._networks: dict[str, tuple[Network, Any]] = {}
        """Each network and its switch, by name."""
        self._uplinks = Uplinks(self._options, self._log)
        self._ports = Ports()
        self._probes = Probes()
        self._memories = ""
        """Where networks have their memories of their neighbours, or empty."""
        self._dormant = False
        self._peer_uids: Any = None

    # -- life --

    @staticmethod
    def prelude(options: base.Options) -> Mapping[str, Any] | None:
        # Cards are one process's, and whether this one stands by is not known so early.
        return None if cards_of(options) else beginning(options)

    def start(self, options: base.Options) -> None:
        self._memories = _memories(options)
        what = beginning(options)
        os.environ.update(what["environment"])
        if options.core_dumps:
            _, most = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))
        lib.vb_log_to(self._log.write_fd)
        result = self._native_start(options, what)
        if result < 0:
            last = "; ".join(self._log.last_errors()) or os.strerror(-result)
            raise _not_started(options, last)
        self._options = options
        self._dormant = options.standby
        self._uplinks = Uplinks(options, self._log)

    def _native_start(self, options: base.Options, what: Mapping[str, Any]) -> int:
        if len(options.worker_cores) > lib.VB_WORKERS_MAX:
            raise errors.ConfigError(
                f"[dpdk] worker_cores names {len(options.worker_cores)} cores; at most "
                f"{lib.VB_WORKERS_MAX} workers are possible"
            )
        native, *_kept = prelude.native_options(ffi, what)
        native.nb_mbufs = options.mbufs
        native.idle_sleep_us = options.idle_sleep_us
        native.watchdog_ms = 1000 * options.watchdog_s
        native.no_core_dumps = not options.core_dumps
        native.standby = options.standby
        # C reads them as long as it runs.
        self._peer_uids = ffi.new("uint32_t[]", list(options.peer_uids))
        native.peer_uids, native.nb_peer_uids = self._peer_uids, len(options.peer_uids)
        return int(lib.vb_start(native))

    def stop(self) -> None:
        self._probes.clear()
        lib.vb_stop()
        self._networks.clear()
        self._uplinks = Uplinks(self._options, self._log)
        self._ports = Ports()

    def info(self) -> Mapping[str, str]:
        workers = self._options.worker_cores
        return {
            "dpdk": dpdk_c.text(lib.vb_dpdk_version()),
            "memory": f"{self._options.memory_mb} MiB"
            + (" of hugepages" if self._options.hugepages else ", no hugepages"),
            "workers": ", ".join(f"core {c}" for c in workers) or "1, not pinned",
            "uplinks": ", ".join(UplinkKind),
            "nics": ", ".join(self._options.nics),
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
        name = shape.switch(network.name).encode()
        switch = dpdk_c.create(lib.vb_switch_create, name, config, what=f"network {network.name}")
        self._networks[network.name] = network, switch

    def network_update(self, network: Network) -> None:
        _, switch = self._network(network.name)
        self._uplinks.resize(network)
        self._networks[network.name] = network, switch

    def network_remove(self, name: str) -> None:
        _, switch = self._network(name)
        if inside := [*self._ports.on(name), *self._uplinks.on(name)]:
            raise errors.NetworkInUse(f"network {name} still has {', '.join(sorted(inside))}")
        dpdk_c.destroy(switch, f"network {name}")
        del self._networks[name]
        # While a standby waits, it is the other one's file.
        if not self._dormant and (memory := self._neighbours(name)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(memory)

    def network_info(self, name: str) -> base.NetworkInfo:
        _, switch = self._network(name)
        bricks = (switch, *self._uplinks.whole(name))
        return base.NetworkInfo(
            macs_learned=lib.vb_switch_macs(switch),
            drops=total_drops(map(dpdk_c.counters, bricks)),
        )

    def _neighbours(self, network: str) -> str:
        """Return the path of a network's memory of its neighbours, or empty."""
        return os.path.join(self._memories, network) if self._memories else ""

    def _network(self, name: str) -> tuple[Network, Any]:
        found = self._networks.get(name)
        if found is None:
            raise errors.NetworkNotFound(f"the datapath has no network {name}")
        return found

    # -- uplinks --

    def uplink_add(self, network: str, uplink: Uplink) -> None:
        present, switch = self._network(network)
        self._uplinks.add(present, uplink, switch)

    def uplink_update(self, network: str, uplink: Uplink) -> None:
        self._uplinks.update(network, uplink)

    def uplink_remove(self, network: str, uplink: Uplink) -> None:
        self._uplinks.remove(network, uplink)

    # -- ports --

    def offer(self, port: Port) -> Offer:
        return Offer(features=lib.vb_vhost_features(), queues=port.queues, mtu=port.mtu)

    def port_add(self, port: Port, offer: Offer) -> None:
        _, switch = self._network(port.network)
        self._ports.add(port, offer, switch)

    def port_remove(self, id: str) -> None:
        port = self._ports.remove(id)
        _, switch = self._network(port.network)
        # Whoever gets its id next is somebody else.
        lib.vb_switch_forget(switch, shape.vhost(id).encode())

    def port_update(self, port: Port) -> None:
        self._ports.update(port)

    def port_info(self, id: str) -> base.PortInfo:
        return self._ports.info(id)

    # -- what happens --

    def event_fd(self) -> int:
        return int(lib.vb_event_fd())

    def events(self) -> Sequence[base.Event]:
        raw = ffi.new("struct vb_event[]", 256)
        return [_event(raw[i]) for i in range(lib.vb_events(raw, len(raw)))]

    def brick_stats(self) -> tuple[BrickStats, ...]:
        bricks = self._bricks()
        return tuple(
            BrickStats(
                brick=node.name,
                kind=node.kind,
                network=node.network,
                counters=dpdk_c.counters(bricks[node.name]),
            )
            for node in self.graph().nodes
        )

    def gone_stats(self) -> Counters:
        return dpdk_c.gone_counters()

    def buffer_stats(self) -> BufferStats:
        return BufferStats(total=self._options.mbufs, in_use=lib.vb_buffers_in_use())

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
                    sleeps=raw.sleeps,
                )
            )
        return tuple(rows)

    def graph(self) -> GraphResult:
        return shape.graph(self._networks, self._uplinks.joined(), self._ports.shapes())

    def _bricks(self) -> dict[str, Any]:
        """Return the handle of each brick by its name."""
        bricks = {shape.switch(name): switch for name, (_, switch) in self._networks.items()}
        bricks.update(self._uplinks.bricks())
        bricks.update(self._ports.bricks())
        return bricks

    # -- seeing packets --

    def capture_start(self, brick: str, options: CaptureOptions) -> int:
        return self._probes.capture_start(brick, self._probed(brick), options)

    def capture_deliver(self, number: int, fd: int) -> None:
        self._probes.capture_deliver(number, fd)

    def capture_stop(self, number: int) -> bool:
        return self._probes.capture_stop(number)

    def trace_start(self, brick: str, packets: int, filter: Filter) -> int:
        return self._probes.trace_start(brick, self._probed(brick), packets, filter)

    def trace_read(self, number: int) -> Traced:
        return self._probes.trace_read(number)

    def trace_stop(self, number: int) -> bool:
        return self._probes.trace_stop(number)

    def _probed(self, brick: str) -> Any:
        shape.check_has_peer(self.graph(), brick)
        return self._bricks()[brick]

    # -- two processes --

    def abilities(self) -> base.Abilities:
        return base.Abilities(features=lib.vb_vhost_features(), queues=lib.VB_QUEUES_MAX)

    def lead(self, fd: int) -> None:
        dpdk_c.check(lib.vb_lead(fd), "telling the standby of all sessions")

    def leading(self) -> bool:
        return bool(lib.vb_leading())

    def follow(self, fd: int) -> None:
        dpdk_c.check(lib.vb_follow(fd), "learning of all sessions")

    def ended_fd(self) -> int:
        fd = int(lib.vb_ended_fd())
        dpdk_c.check(fd, "waiting for the end of who serves")
        return fd

    def followed(self) -> base.Followed:
        raw = ffi.new("struct vb_followed *")
        lib.vb_followed(raw)
        return base.Followed(
            in_sync=raw.in_sync,
            silence_s=raw.silence / 1e9 if raw.silence >= 0 else None,
            sessions=raw.sessions,
        )

    def take_over(self) -> base.TakeOver:
        raw = ffi.new("struct vb_take_over *")
        dpdk_c.check(lib.vb_take_over(raw), "taking over")
        self._dormant = False
        return base.TakeOver(adopted=raw.adopted, closed=raw.closed)

    def let_go(self) -> None:
        lib.vb_let_go()


def _not_started(options: base.Options, reason: str) -> errors.DatapathError:
    if not options.hugepages:
        return errors.DatapathError(
            f"DPDK did not start: {reason}",
            hint="'vhost-brick doctor' checks what the host has; see group [dpdk].",
        )
    return errors.DatapathError(
        f"DPDK did not start with {options.memory_mb} MiB of hugepages: {reason}",
        hint="'vhost-brick doctor' shows which are free: reserve as many as [dpdk] memory_mb "
        "says (sysctl -w vm.nr_hugepages=NUMBER, of 2 MiB), or set [dpdk] hugepages = auto.",
    )


def _memories(options: base.Options) -> str:
    """Make the directory for networks' memories; empty if there is none to be had."""
    if not options.runtime_dir:
        return ""
    path = os.path.join(options.runtime_dir, NEIGHBOURS_DIR)
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.access(path, os.R_OK | os.W_OK | os.X_OK):
            return path
        problem = "no permission"
    except OSError as e:
        problem = str(e)
    # Slower restarts are no reason to serve nobody.
    LOG.warning(
        "Guests will take a second longer after a restart: nothing can be remembered in %s (%s). "
        "Give it to the daemon's user.",
        path,
        problem,
    )
    return ""


def _event(raw: Any) -> base.Event:
    kind, _, name = dpdk_c.text(raw.brick).partition("/")
    detail: dict[str, str] = {}
    if raw.kind in (lib.VB_EVENT_SESSION_CONNECTED, lib.VB_EVENT_SESSION_ADOPTED):
        detail = {"pid": str(raw.pid), "user": str(raw.uid)}
    elif raw.kind == lib.VB_EVENT_SESSION_NEGOTIATED:
        detail = {"features": f"{raw.features:#x}"}
    elif raw.kind in (lib.VB_EVENT_SESSION_RUNNING, lib.VB_EVENT_QUEUES_CHANGED):
        detail = {"features": f"{raw.features:#x}", "queues": str(raw.queues)}
    elif raw.kind == lib.VB_EVENT_SESSION_CLOSED and raw.fault:
        detail = {"reason": dpdk_c.FAULTS[raw.fault]}
    elif raw.kind == lib.VB_EVENT_FAULT:
        detail = {
            "fault": dpdk_c.FAULTS[raw.fault],
            "message": dpdk_c.text(lib.vb_fault_meaning(raw.fault)),
            "hint": dpdk_c.text(lib.vb_fault_hint(raw.fault)),
        }
    return base.Event(
        time=raw.time / 1e9,
        kind=EVENT_KINDS[raw.kind],
        port=name if kind == "vhost" else "",
        uplink=name if kind in UPLINK_KINDS else "",
        session=raw.session,
        detail=detail,
    )
