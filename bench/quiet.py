# SPDX-License-Identifier: Apache-2.0
"""What a datapath costs when little happens: latency, memory a port, CPU when idle."""

import contextlib
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.crowd import Crowd
from bench.figures import disturbed
from bench.generator import Latency
from bench.machine import Share
from tests.functional.daemon import Daemon

IDLE_SETTLE_S = 3.0
"""Without a packet, before it is called idle."""

IDLE_S = 2.0


@dataclass(frozen=True)
class Pause:
    """How often single frames are sent: *gap_us* after each has come, *count* times."""

    gap_us: int
    count: int


PAUSES = (Pause(100, 5000), Pause(20_000, 50))
"""The second one finds workers that have gone to sleep."""


@dataclass(frozen=True)
class LatencyRound:
    """One measurement of one system."""

    latency: Latency
    share: Share

    @property
    def disturbed(self) -> str:
        # A worker that sleeps in a pause does as it should.
        return disturbed(self.share, worker=False)

    def __str__(self) -> str:
        return f"median {self.latency.median_us:.2f} us, p99 {self.latency.p99_us:.2f} us"


def latency_row(system: str, pause: Pause, rounds: Sequence[LatencyRound]) -> dict[str, Any]:
    good = [r for r in rounds if not r.disturbed]
    used = [r.latency for r in good or rounds]
    return {
        "kind": "latency",
        "system": system,
        "gap_us": pause.gap_us,
        "median_us": round(statistics.median(x.median_us for x in used), 2),
        "p99_us": round(statistics.median(x.p99_us for x in used), 2),
        "lost": sum(x.lost for x in used),
        "rounds": len(good),
        "thrown_away": len(rounds) - len(good),
    }


def memory_rows(held_kb: Mapping[str, Mapping[int, int]]) -> list[dict[str, Any]]:
    """Return what each more port has taken.

    :param held_kb: what each system held, by its name and by its number of ports.
    """
    rows = []
    for system, by_ports in held_kb.items():
        few, many = min(by_ports), max(by_ports)
        if few < many:
            each = (by_ports[many] - by_ports[few]) / (many - few)
            rows.append(
                {"kind": "memory", "system": system, "ports": many, "kb_a_port": round(each, 1)}
            )
    return rows


def idle_row(system: str, ports: int, pids: Sequence[int]) -> dict[str, Any]:
    """Measure what processes take of a core when nothing happens."""
    time.sleep(IDLE_SETTLE_S)
    begun_s, had_s = time.monotonic(), sum(map(machine.cpu_s, pids))
    time.sleep(IDLE_S)
    took_s = sum(map(machine.cpu_s, pids)) - had_s
    share = took_s / (time.monotonic() - begun_s)
    return {"kind": "idle", "system": system, "ports": ports, "cores": round(share, 4)}


def daemon_row(directory: Path, ports: int, worker_core: int, control_core: int) -> dict[str, Any]:
    """Measure the whole daemon: more than the datapath can wake up in it."""
    config = {
        "dpdk": {"worker_cores": worker_core, "control_cores": control_core, "memory_mb": 256}
    }
    with contextlib.ExitStack() as stack:
        directory.mkdir()
        cores = os.sched_getaffinity(0)
        daemon = Daemon(directory, config=config)
        stack.callback(daemon.cleanup)
        os.sched_setaffinity(0, {worker_core, control_core})
        daemon.spawn()
        os.sched_setaffinity(0, cores)
        daemon.wait_ready()
        client = daemon.client
        client.network_ensure(network="bench")
        made = [
            client.port_ensure(id=f"port{i}", network="bench", mode="client", queues=1).port
            for i in range(ports)
        ]
        crowd = stack.enter_context(Crowd({port.socket_path: "client" for port in made}))
        crowd.wait_connected()
        return idle_row("vhost-brickd", ports, [daemon.pid])


# ---- the table


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text, a block for each kind."""
    lines = []
    for gap_us in dict.fromkeys(r["gap_us"] for r in rows if r["kind"] == "latency"):
        lines.append(f"Latency of single frames, {gap_us} us apart:")
        lines += [
            "  {system:<13}{median_us:>10.2f} us median{p99_us:>10.2f} us p99"
            "{lost:>5} lost{rounds:>4} rounds, {thrown_away} thrown away".format(**r)
            for r in rows
            if r["kind"] == "latency" and r["gap_us"] == gap_us
        ]
    lines += block(rows, "memory", "Memory of one more port with its VM:", "kb_a_port", "kB")
    lines += block(rows, "idle", "Idle, all its ports connected:", "cores", "cores")
    return "\n".join(lines)


def block(rows: Sequence[dict[str, Any]], kind: str, title: str, key: str, unit: str) -> list[str]:
    found = [r for r in rows if r["kind"] == kind]
    lines = [f"  {r['system']:<13}{r[key]:>10} {unit}, {r['ports']} ports" for r in found]
    return [title, *lines] if found else []
