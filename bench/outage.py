# SPDX-License-Identifier: Apache-2.0
"""How long guests are cut off when vhost-brickd is killed, and what that is made of.

Two real VMs ping each other every 10 ms; the daemon is killed by SIGKILL, many
times in a row, and a supervisor brings it back. Each guest reports the longest
silence it felt. One run has two client-mode ports; in the other one VM is on a
server-mode port, and QEMU decides when to come back. Parts are cut so that they
add up to the silence of the guest that felt the longer one.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.lab import pair
from tools.lab.brickd import Life
from tools.lab.lab import Guest
from tools.lab.stand import Host, Stand, wait_answers, work_dir

PARTS = {
    "supervisor": "SIGKILL to the new program's start",
    "process": "to the first line of main()",
    "settings": "configuration known",
    "datapath": "DPDK (EAL) and the workers started",
    "ports": "ports restored",
    "session": "QEMU connected, its device is being polled",
    "first_packet": "the guest has an answer",
}


@dataclass(frozen=True)
class Plan:
    """One run: the modes of the two ports, and what is promised."""

    name: str
    modes: tuple[str, str]
    measured: tuple[str, ...]
    """The ports whose mode this run is about."""
    bound_ms: float


PLANS = (
    Plan("client", ("client", "client"), ("one", "two"), 1000.0),
    Plan("server", ("server", "client"), ("one",), 3000.0),
)


@dataclass(frozen=True)
class Kill:
    """What one kill did."""

    silence_ms: dict[str, float]
    parts_ms: dict[str, float]


class Run:
    """Carries a plan out on a stand of its own."""

    def __init__(self, plan: Plan, stand: Stand) -> None:
        self._plan = plan
        self._stand = stand
        self._guests: list[Guest] = []

    def kills(self, count: int) -> list[Kill]:
        """Boot the guests and kill the daemon *count* times."""
        pair.make_ports(self._stand, self._plan.modes)
        self._guests = pair.boot(self._stand)
        # The first start reads the configuration, later ones remember it.
        self._stand.kill(self._guests)
        done = []
        for number in range(1, count + 1):
            done.append(self._kill())
            silence = max(done[-1].silence_ms.values())
            print(f"  kill {number} of {count}: {silence:.0f} ms", flush=True)
        return done

    def _kill(self) -> Kill:
        for guest in self._guests:
            guest.command("reset")
            wait_answers(guest)
        dead, life = self._stand.kill(self._guests)
        silence_ms = {
            guest.name: guest.wait_report(fresh=True).longest_silence_ms for guest in self._guests
        }
        return Kill(silence_ms, self._parts(dead, life, max(silence_ms.values())))

    def _parts(self, dead: Life, life: Life, silence_ms: float) -> dict[str, float]:
        """Cut a silence that began with the kill, up to one ping later, into parts."""
        startup = self._stand.show("status")["startup_ms"]
        marks = {"supervisor": life.executed}
        at = life.ready - startup["total"] / 1000
        for part in ("process", "settings", "datapath", "ports"):
            at += startup[part] / 1000
            marks[part] = at
        marks["session"] = max(self._running_since(name) for name in pair.NAMES)
        marks["first_packet"] = dead.killed + silence_ms / 1000
        parts_ms = {}
        before = dead.killed
        for part, mark in marks.items():
            # Some overlap: a session may run before the last port is restored.
            end = max(mark, before)
            parts_ms[part] = round(1000 * (end - before), 1)
            before = end
        return parts_ms

    def _running_since(self, port: str) -> float:
        sessions = self._stand.show("port", "show", port)["sessions"]
        since: float = max(s["since"] for s in sessions)
        return since - (time.time() - time.monotonic())


# ---- results


def spread(values: list[float]) -> dict[str, float]:
    return {
        "min": min(values),
        "median": round(statistics.median(values), 1),
        "max": max(values),
    }


def summary(plan: Plan, kills: list[Kill]) -> dict[str, Any]:
    silences = [kill.silence_ms[name] for kill in kills for name in plan.measured]
    return {
        "mode": plan.name,
        "ports": dict(zip(pair.NAMES, plan.modes, strict=True)),
        "measured_at": list(plan.measured),
        "kills": len(kills),
        "bound_ms": plan.bound_ms,
        "ok": max(silences) <= plan.bound_ms,
        "longest_silence_ms": spread(silences),
        "parts_ms": {part: spread([kill.parts_ms[part] for kill in kills]) for part in PARTS},
        "each": [
            {"longest_silence_ms": kill.silence_ms, "parts_ms": kill.parts_ms} for kill in kills
        ],
    }


def show(result: dict[str, Any]) -> None:
    verdict = "within" if result["ok"] else "BEYOND"
    print(
        f"\n{result['mode']} mode, {result['kills']} kills: {verdict} {result['bound_ms']:g} ms\n"
    )
    print(f"  {'ms':<18}{'min':>8}{'median':>8}{'max':>8}")
    line = "  {:<18}{min:>8.1f}{median:>8.1f}{max:>8.1f}  {text}"
    print(
        line.format("longest silence", **result["longest_silence_ms"], text="as a guest felt it")
    )
    for part, text in PARTS.items():
        print(line.format(f"- {part}", **result["parts_ms"][part], text=text))


def describe(host: Host, stand: Stand) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "kvm": host.kvm.usable,
        "load_1min_before": os.getloadavg()[0],
        "datapath": stand.show("status")["datapath_info"],
        "ping_interval_ms": pair.INTERVAL_MS,
    }


# ---- the command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--mode", choices=[p.name for p in PLANS], help="only the run of this mode"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=Path(__file__).with_suffix(".json"),
        help="default: %(default)s",
    )
    return parser.parse_args()


def main() -> int:
    options = arguments()
    host = Host.probe()
    results: dict[str, Any] = {"ok": True, "host": None, "runs": []}
    for plan in PLANS:
        if options.mode not in (None, plan.name):
            continue
        print(f"{plan.name} mode:", flush=True)
        with work_dir("vb-outage") as directory, Stand(host, directory) as stand:
            results["host"] = results["host"] or describe(host, stand)
            result = summary(plan, Run(plan, stand).kills(options.kills))
        results["runs"].append(result)
        results["ok"] &= result["ok"]
    for result in results["runs"]:
        show(result)
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {options.json}")
    return 0 if results["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
