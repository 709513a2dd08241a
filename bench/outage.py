# SPDX-License-Identifier: Apache-2.0
"""How long guests are cut off when vhost-brickd is killed or replaced, and what that is made of.

Two real VMs ping each other every 10 ms while the daemon is killed by SIGKILL, many times
in a row: alone, and its supervisor brings it back; or with a standby that takes over; or
it is not killed but hands over to its standby. What they feel when nothing happens is
measured in the same way: below that nothing can be told. Both VMs are on ports of one mode, with
no other port or with 98 others (see crowd.py). Each guest reports the longest silence
it felt, to which belongs up to one ping before the outage. Parts are cut so that they add
up to the silence of the guest that felt the longer one.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.crowd import Crowd
from tools.lab import pair
from tools.lab.brickd import Life
from tools.lab.duo import Change, Duo
from tools.lab.lab import Guest
from tools.lab.stand import NETWORK, Host, Stand, wait_answers, work_dir
from vhost_brick_plugin.api.client import Client

RESTARTED = {
    "supervisor": "SIGKILL to the new program's start",
    "process": "to the first line of main()",
    "settings": "configuration known",
    "datapath": "DPDK (EAL) and the workers started",
    "ports": "ports restored",
    "session": "QEMU connected, its device is being polled",
    "first_packet": "the guest has an answer",
}
TAKEN_OVER = {
    "end": "SIGKILL until the kernel says that no thread of it will run again",
    "state": "the stored state looked at once more",
    "sessions": "sessions adopted, rings are being polled",
    "first_packet": "the guest has an answer",
}
HANDED_OVER = {
    "end": "the command until the old process has let go; packets flow most of that time",
    "state": TAKEN_OVER["state"],
    "sessions": TAKEN_OVER["sessions"],
}

QEMUS_TIMER = "QEMU tries to connect once a second, and no daemon can be faster"


@dataclass(frozen=True)
class Kind:
    """What happens to the daemon."""

    name: str
    text: str
    standby: bool
    parts: dict[str, str]


NOTHING = Kind("nothing", "left alone: what the measuring itself shows", True, {})
ALONE = Kind("alone", "killed, and started again by its supervisor", False, RESTARTED)
STANDBY = Kind("standby", "killed, and a standby takes over", True, TAKEN_OVER)
HANDOVER = Kind("handover", "told to hand over to its standby", True, HANDED_OVER)
KINDS = {kind.name: kind for kind in (NOTHING, ALONE, STANDBY, HANDOVER)}

MODES = ("client", "server")
SIZES = (1, 100)
"""Ports: what is measured is one port; of a hundred, too."""

BOUND_MS = {"nothing": 20.0, "alone": 300.0, "standby": 50.0, "handover": 50.0}
"""Promised for the median; of nothing: what an idle machine keeps to."""

SERVER_ALONE_MS = 1100.0
"""See QEMUS_TIMER."""


@dataclass(frozen=True)
class Plan:
    """One run."""

    kind: Kind
    mode: str
    ports: int

    @property
    def bound_ms(self) -> float:
        bound_by_qemu = self.kind is ALONE and self.mode == "server"
        return SERVER_ALONE_MS if bound_by_qemu else BOUND_MS[self.kind.name]

    def __str__(self) -> str:
        return f"{self.kind.name}, {self.mode} mode, {self.ports} port{'s' * (self.ports > 1)}"


@dataclass(frozen=True)
class Outage:
    """What one kill or hand-over did.

    :ivar cut_off: frontends of others that lost their connection.
    """

    silence_ms: dict[str, float]
    parts_ms: dict[str, float]
    cut_off: int


class Run:
    """Carries out plans of one mode, number of ports and stand."""

    def __init__(self, stand: Stand, guests: list[Guest], crowd: Crowd | None) -> None:
        self._stand = stand
        self._guests = guests
        self._crowd = crowd
        self._cut_off = 0

    def outages(self, plan: Plan, count: int) -> Iterator[Outage]:
        """Let it happen *count* times."""
        # The first start reads the configuration, later ones remember it.
        self._once(plan)
        for _ in range(count):
            yield self._once(plan)

    def _once(self, plan: Plan) -> Outage:
        if self._stand.duo:
            self._stand.duo.wait_in_sync()
        if self._crowd:
            self._cut_off = self._crowd.wait_connected()
        for guest in self._guests:
            guest.command("reset")
            wait_answers(guest)
        if self._stand.duo is None:
            dead, life = self._stand.kill(self._guests)
            silence_ms = self._silences()
            parts_ms = self._restart_parts(dead, life, max(silence_ms.values()))
        else:
            change = self._change(plan.kind, self._stand.duo)
            for guest in self._guests:
                wait_answers(guest)
            silence_ms = self._silences()
            parts_ms = take_over_parts(plan.kind, change, max(silence_ms.values()))
        cut_off = self._crowd.wait_connected() - self._cut_off if self._crowd else 0
        return Outage(silence_ms, parts_ms, cut_off)

    def _change(self, kind: Kind, duo: Duo) -> Change | None:
        if kind is NOTHING:
            return None
        return duo.kill() if kind is STANDBY else duo.hand_over()

    def _silences(self) -> dict[str, float]:
        return {g.name: g.wait_report(fresh=True).longest_silence_ms for g in self._guests}

    def _restart_parts(self, dead: Life, life: Life, silence_ms: float) -> dict[str, float]:
        """Cut a silence that began with the kill, up to one ping later, into parts."""
        startup = self._stand.show("status")["startup_ms"]
        marks = {"supervisor": life.executed}
        at = life.ready - startup["total"] / 1000
        for part in ("process", "settings", "datapath", "ports"):
            at += startup[part] / 1000
            marks[part] = at
        marks["session"] = max(self._running_since(name) for name in pair.NAMES)
        marks["first_packet"] = dead.killed + silence_ms / 1000
        return cut(dead.killed, marks)

    def _running_since(self, port: str) -> float:
        sessions = self._stand.show("port", "show", port)["sessions"]
        since: float = max(s["since"] for s in sessions)
        return since - (time.time() - time.monotonic())


def take_over_parts(kind: Kind, change: Change | None, silence_ms: float) -> dict[str, float]:
    if change is None:
        return {}
    marks = {"end": change.began_to_serve}
    at = change.began_to_serve
    for part in ("state", "sessions"):
        at += change.hello.startup_ms[part] / 1000
        marks[part] = at
    if "first_packet" in kind.parts:
        marks["first_packet"] = change.began + silence_ms / 1000
    return cut(change.began, marks)


def cut(begin: float, marks: dict[str, float]) -> dict[str, float]:
    """Return the milliseconds of each part, which ends at its mark."""
    parts_ms = {}
    before = begin
    for part, mark in marks.items():
        # Some overlap: a session may run before the last port is restored.
        end = max(mark, before)
        parts_ms[part] = round(1000 * (end - before), 1)
        before = end
    return parts_ms


# ---- the set-up


@contextlib.contextmanager
def set_up(host: Host, mode: str, ports: int, standby: bool) -> Iterator[tuple[Stand, Run]]:
    """Have two VMs that ping each other, and their crowd."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(work_dir("vb-outage"))
        stand = stack.enter_context(Stand(host, directory, standby=standby))
        pair.make_ports(stand, (mode, mode))
        others = [f"other{i}" for i in range(ports - len(pair.NAMES))]
        client = Client(str(stand.api_socket))
        sockets = {}
        for name in others:
            status = client.port_ensure(id=name, network=NETWORK, mode=mode, queues=1)
            sockets[status.port.socket_path] = mode
        crowd = stack.enter_context(Crowd(sockets)) if others else None
        if crowd:
            crowd.wait_connected()
        yield stand, Run(stand, pair.boot(stand), crowd)


# ---- results


def spread(values: list[float]) -> dict[str, float]:
    return {
        "min": min(values),
        "median": round(statistics.median(values), 1),
        "max": max(values),
    }


def summary(plan: Plan, outages: list[Outage]) -> dict[str, Any]:
    silences = spread([max(o.silence_ms.values()) for o in outages])
    return {
        "kind": plan.kind.name,
        "mode": plan.mode,
        "ports": plan.ports,
        "count": len(outages),
        "bound_ms": plan.bound_ms,
        "ok": silences["median"] <= plan.bound_ms,
        "note": QEMUS_TIMER if plan.bound_ms == SERVER_ALONE_MS else "",
        "longest_silence_ms": silences,
        "parts_ms": {
            part: spread([o.parts_ms[part] for o in outages]) for part in plan.kind.parts
        },
        "others_cut_off": sum(o.cut_off for o in outages),
        "each": [{"longest_silence_ms": o.silence_ms, "parts_ms": o.parts_ms} for o in outages],
    }


def show(runs: list[dict[str, Any]]) -> None:
    """Print one line a run, then what each is made of."""
    line = "{:<9} {:<7} {:>5} {:>6} {:>8} {:>8} {:>8} {:>8}  {}"
    print("\nLongest silence that a guest felt, in ms:\n")
    print(line.format("daemon", "mode", "ports", "times", "min", "median", "max", "bound", ""))
    for run in runs:
        figures = run["longest_silence_ms"]
        verdict = "" if run["ok"] else "BEYOND ITS BOUND"
        print(
            line.format(
                *(run["kind"], run["mode"], run["ports"], run["count"]),
                *(f"{figures[key]:.1f}" for key in ("min", "median", "max")),
                f"{run['bound_ms']:g}",
                verdict or run["note"],
            )
        )
    for run in runs:
        kind = KINDS[run["kind"]]
        if not kind.parts:
            continue
        print(f"\n{kind.text}; {run['mode']} mode, {run['ports']} ports:")
        if run["ports"] > len(pair.NAMES):
            print(f"  others whose connection broke: {run['others_cut_off']}")
        for part, text in kind.parts.items():
            print(
                "  {:<14}{min:>8.1f}{median:>8.1f}{max:>8.1f}  {}".format(
                    part, text, **run["parts_ms"][part]
                )
            )


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
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="default: %(default)s")
    parser.add_argument("--mode", choices=MODES, help="only this one")
    parser.add_argument("--ports", type=int, choices=SIZES, help="only so many")
    parser.add_argument("--kind", choices=KINDS, help="only this one")
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
    kinds = [k for name, k in KINDS.items() if options.kind in (None, name)]
    for ports in [n for n in SIZES if options.ports in (None, n)]:
        for mode in [m for m in MODES if options.mode in (None, m)]:
            for standby in sorted({kind.standby for kind in kinds}):
                plans = [Plan(k, mode, ports) for k in kinds if k.standby == standby]
                with set_up(host, mode, ports, standby) as (stand, run):
                    results["host"] = results["host"] or describe(host, stand)
                    for plan in plans:
                        results["runs"].append(summary(plan, carry_out(run, plan, options.kills)))
    results["ok"] = all(run["ok"] for run in results["runs"])
    results["runs"].sort(key=lambda r: (list(KINDS).index(r["kind"]), r["mode"], r["ports"]))
    show(results["runs"])
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {options.json}")
    return 0 if results["ok"] else 1


def carry_out(run: Run, plan: Plan, count: int) -> list[Outage]:
    print(f"{plan}:", flush=True)
    outages = []
    for number, outage in enumerate(run.outages(plan, count), 1):
        outages.append(outage)
        silence = max(outage.silence_ms.values())
        print(f"  {number} of {count}: {silence:.0f} ms {outage.parts_ms}", flush=True)
    return outages


if __name__ == "__main__":
    sys.exit(main())
