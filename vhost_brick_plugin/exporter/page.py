# SPDX-License-Identifier: Apache-2.0
"""From what the daemon says to metrics.  Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.exporter import metrics
from vhost_brick_plugin.exporter.metrics import Metric
from vhost_brick_plugin.model import SessionState, UplinkKind
from vhost_brick_plugin.report import BrickStats, Counters, WorkerStats

Family = CounterMetricFamily | GaugeMetricFamily

PORT_STATES = ("waiting", "connected", "running", "fault")
"""As :class:`.methods.PortStatus` has them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the daemon said."""

    hello: methods.HelloResult
    ports: tuple[methods.PortStatus, ...]
    networks: tuple[methods.NetworkStatus, ...]
    stats: methods.StatsResult


class Page:
    """The metrics of one moment."""

    def __init__(self) -> None:
        self._families = {metric: _family(metric) for metric in metrics.ALL}

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value of *metric*, with its labels in the order they are declared in."""
        self._families[metric].add_metric(labels, value)

    def families(self) -> Iterable[Family]:
        """Return all metrics in the order of :data:`.metrics.ALL`."""
        return self._families.values()


def _family(metric: Metric) -> Family:
    kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)


def fill(page: Page, seen: Seen) -> None:
    """Put all that was *seen* on *page*."""
    _put_daemon(page, seen.hello)
    page.put(metrics.BUFFERS, seen.stats.buffers.total)
    page.put(metrics.BUFFERS_IN_USE, seen.stats.buffers.in_use)
    for worker in seen.stats.workers:
        _put_worker(page, worker)
    for port in seen.ports:
        _put_port(page, port)
    for network in seen.networks:
        _put_network(page, network)
    for brick in seen.stats.bricks:
        _put_brick(page, brick)


def _put_daemon(page: Page, hello: methods.HelloResult) -> None:
    page.put(metrics.DAEMON_INFO, 1, hello.version, hello.datapath)
    if hello.started:
        page.put(metrics.START_TIME, hello.started)
    if "total" in hello.startup_ms:
        page.put(metrics.STARTUP, hello.startup_ms["total"] / 1000)
    if hello.standby is not None:
        page.put(metrics.STANDBY_IN_SYNC, hello.standby.in_sync)
    if hello.took_over is not None:
        page.put(metrics.TAKEOVER_SESSIONS, hello.took_over.adopted, "adopted")
        page.put(metrics.TAKEOVER_SESSIONS, hello.took_over.closed, "closed")


def _put_worker(page: Page, worker: WorkerStats) -> None:
    labels = str(worker.worker), str(worker.core)
    page.put(metrics.WORKER_CYCLES, worker.cycles, *labels)
    page.put(metrics.WORKER_BUSY_CYCLES, worker.busy_cycles, *labels)
    page.put(metrics.WORKER_POLLS, worker.polls, *labels)
    page.put(metrics.WORKER_BUSY_POLLS, worker.busy_polls, *labels)
    page.put(metrics.WORKER_SLEEPS, worker.sleeps, *labels)


def _put_port(page: Page, status: methods.PortStatus) -> None:
    labels = _port_labels(status)
    _put_traffic(page, metrics.PORT_TRAFFIC, status.counters, labels)
    page.put(metrics.PORT_DROPPED, sum(status.counters.drops.values()), *labels)
    _put_drops(page, metrics.PORT_DROPS, status.counters.drops, labels)
    for state in PORT_STATES:
        page.put(metrics.PORT_STATE, status.state == state, *labels, state)
    states = [session.state for session in status.sessions]
    for session_state in SessionState:
        page.put(metrics.PORT_SESSIONS, states.count(session_state), *labels, session_state.value)
    if status.sessions:
        latest = max(session.since for session in status.sessions)
        page.put(metrics.PORT_SESSION_START, latest, *labels)
    if status.fault is not None:
        page.put(metrics.PORT_FAULT, 1, *labels, status.fault.name)
    _put_port_info(page, status)


def _port_labels(status: methods.PortStatus) -> tuple[str, ...]:
    """Return the labels of :data:`.metrics.PORT`; empty: not known."""
    port, about = status.port, status.port.metadata
    return (
        port.id,
        port.network,
        about.get("network_label", ""),
        about.get("instance_uuid", ""),
        about.get("instance_name", ""),
    )


def _put_port_info(page: Page, status: methods.PortStatus) -> None:
    port = status.port
    page.put(
        metrics.PORT_INFO,
        1,
        port.id,
        port.network,
        port.mac,
        port.mode.value,
        status.security.mode.value,
        port.socket_path,
        port.metadata.get("project_id", ""),
    )


def _put_network(page: Page, status: methods.NetworkStatus) -> None:
    name = status.network.name
    page.put(metrics.NETWORK_PORTS, len(status.ports), name)
    page.put(metrics.NETWORK_MACS, status.macs_learned, name)
    if status.fault is not None:
        page.put(metrics.NETWORK_FAULT, 1, name, status.fault.name)


def _put_brick(page: Page, brick: BrickStats) -> None:
    """Put the counters of a brick that is no port's: those are in the port's status."""
    labels = brick.brick.partition("/")[2], brick.kind
    if brick.kind == "switch":
        page.put(metrics.SWITCH_MADE, brick.counters.made_packets, brick.network)
        _put_drops(page, metrics.SWITCH_DROPS, brick.counters.drops, (brick.network,))
    elif brick.kind in list(UplinkKind):
        _put_traffic(page, metrics.UPLINK_TRAFFIC, brick.counters, labels)
        _put_drops(page, metrics.UPLINK_DROPS, brick.counters.drops, labels)
    elif brick.kind == "vlan":
        _put_drops(page, metrics.UPLINK_DROPS, brick.counters.drops, labels)


def _put_traffic(
    page: Page, four: tuple[Metric, ...], counters: Counters, labels: tuple[str, ...]
) -> None:
    values = (
        counters.from_peer_packets,
        counters.from_peer_bytes,
        counters.to_peer_packets,
        counters.to_peer_bytes,
    )
    for metric, value in zip(four, values, strict=True):
        page.put(metric, value, *labels)


def _put_drops(
    page: Page, metric: Metric, drops: Mapping[str, int], labels: tuple[str, ...]
) -> None:
    for reason, count in drops.items():
        page.put(metric, count, *labels, reason)
