# SPDX-License-Identifier: Apache-2.0
"""The metrics, declared once: the page, its reference and the checks of etc/ come from here."""

from __future__ import annotations

import dataclasses

PORT = ("port", "network", "network_name", "instance_uuid", "instance_name")
"""What every metric of a port says of it.  Not ``instance``: that is Prometheus' own label."""

UPLINK = ("uplink", "kind")

WORKER = ("worker", "core")


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    :ivar name: a counter's ends in ``_total``; all others are gauges.
    :ivar help: what it counts, in which unit.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def is_counter(self) -> bool:
        """Tell whether it only grows, until a reset."""
        return self.name.endswith("_total")


def _traffic(owner: str, peer: str, whom: str, labels: tuple[str, ...]) -> tuple[Metric, ...]:
    """Return counters of what came from a *peer* (in words: *whom*) and of what went to it."""
    came, went = f"vhost_brick_{owner}_from_{peer}", f"vhost_brick_{owner}_to_{peer}"
    return (
        Metric(f"{came}_packets_total", f"Packets taken from {whom}.", labels),
        Metric(f"{came}_bytes_total", f"Bytes taken from {whom}.", labels),
        Metric(f"{went}_packets_total", f"Packets given to {whom}.", labels),
        Metric(f"{went}_bytes_total", f"Bytes given to {whom}.", labels),
    )


# -- the daemon --------------------------------------------------------------

UP = Metric(
    "vhost_brick_up",
    "1: vhost-brickd answered. 0: it did not, and there are no metrics but this one.",
)
START_TIME = Metric(
    "vhost_brick_start_time_seconds",
    "When the daemon began to serve, in seconds since the epoch. Another value is another "
    "process, whose counters began at zero.",
)
STARTUP = Metric(
    "vhost_brick_startup_seconds", "How long its start, or its take-over, took, in seconds."
)
DAEMON_INFO = Metric("vhost_brick_daemon_info", "Always 1.", ("version", "datapath"))
STANDBY_IN_SYNC = Metric(
    "vhost_brick_standby_in_sync",
    "1: there is a standby, and it knows every session. 0: it does not yet. Absent: there is "
    "none.",
)
TAKEOVER_SESSIONS = Metric(
    "vhost_brick_takeover_sessions",
    "Sessions at the take-over this daemon began with: adopted (nobody noticed) and closed. "
    "Absent: it was started to serve.",
    ("result",),
)
BUFFERS = Metric("vhost_brick_buffers", "Packet buffers, as [dpdk] mbufs says.")
BUFFERS_IN_USE = Metric(
    "vhost_brick_buffers_in_use", "Packet buffers that hold a packet, or wait for one."
)

# -- workers -----------------------------------------------------------------

WORKER_CYCLES = Metric("vhost_brick_worker_cycles_total", "TSC cycles in all.", WORKER)
WORKER_BUSY_CYCLES = Metric(
    "vhost_brick_worker_busy_cycles_total",
    "TSC cycles in rounds that found a packet. Its rate by that of all cycles is the share of "
    "time that the worker is busy.",
    WORKER,
)
WORKER_POLLS = Metric("vhost_brick_worker_polls_total", "Rounds over its poll list.", WORKER)
WORKER_BUSY_POLLS = Metric(
    "vhost_brick_worker_busy_polls_total", "Rounds that found a packet.", WORKER
)
WORKER_SLEEPS = Metric(
    "vhost_brick_worker_sleeps_total", "Times it went to sleep, having nothing to do.", WORKER
)

# -- ports -------------------------------------------------------------------

PORT_TRAFFIC = _traffic("port", "guest", "the guest", PORT)
PORT_DROPPED = Metric(
    "vhost_brick_port_dropped_packets_total",
    "Packets dropped, for whatever reason. There from the beginning, with 0, so that no rate "
    "misses the first one.",
    PORT,
)
PORT_DROPS = Metric(
    "vhost_brick_port_drops_total",
    "Packets dropped, by reason. Reasons that did not occur are left out.",
    (*PORT, "reason"),
)
PORT_STATE = Metric(
    "vhost_brick_port_state",
    "1 for the state it is in: waiting, connected, running or fault; 0 for the others.",
    (*PORT, "state"),
)
PORT_SESSIONS = Metric(
    "vhost_brick_port_sessions",
    "Connected frontends by their state: connected or running.",
    (*PORT, "state"),
)
PORT_SESSION_START = Metric(
    "vhost_brick_port_session_start_time_seconds",
    "When the latest of its sessions came into its state, in seconds since the epoch; absent "
    "without one. Changes with each reconnect, and each start of the guest's driver.",
    PORT,
)
PORT_FAULT = Metric(
    "vhost_brick_port_fault", "1, while the port is at fault, by name.", (*PORT, "fault")
)
PORT_INFO = Metric(
    "vhost_brick_port_info",
    "Always 1; what else is known of a port.",
    ("port", "network", "mac", "mode", "security", "socket_path", "project_id"),
)

# -- networks and uplinks ----------------------------------------------------

NETWORK_PORTS = Metric("vhost_brick_network_ports", "Its ports.", ("network",))
NETWORK_MACS = Metric(
    "vhost_brick_network_macs", "Entries in its switch's MAC table.", ("network",)
)
NETWORK_FAULT = Metric(
    "vhost_brick_network_fault",
    "1, while the network or an uplink of it is at fault, by name.",
    ("network", "fault"),
)
SWITCH_DROPS = Metric(
    "vhost_brick_switch_drops_total",
    "Packets that a network's switch dropped, by reason.",
    ("network", "reason"),
)
SWITCH_MADE = Metric(
    "vhost_brick_switch_made_packets_total",
    "Packets that the switch made: further copies of flooded ones, announcements.",
    ("network",),
)
UPLINK_TRAFFIC = _traffic("uplink", "peer", "the world outside", UPLINK)
UPLINK_DROPS = Metric(
    "vhost_brick_uplink_drops_total",
    "Packets that an uplink dropped, by reason; those of a trunk have the kind vlan.",
    (*UPLINK, "reason"),
)

ALL: tuple[Metric, ...] = (
    *(UP, START_TIME, STARTUP, DAEMON_INFO, STANDBY_IN_SYNC, TAKEOVER_SESSIONS),
    *(BUFFERS, BUFFERS_IN_USE),
    *(WORKER_CYCLES, WORKER_BUSY_CYCLES, WORKER_POLLS, WORKER_BUSY_POLLS, WORKER_SLEEPS),
    *(*PORT_TRAFFIC, PORT_DROPPED, PORT_DROPS),
    *(PORT_STATE, PORT_SESSIONS, PORT_SESSION_START, PORT_FAULT, PORT_INFO),
    *(NETWORK_PORTS, NETWORK_MACS, NETWORK_FAULT, SWITCH_DROPS, SWITCH_MADE),
    *(*UPLINK_TRAFFIC, UPLINK_DROPS),
)
