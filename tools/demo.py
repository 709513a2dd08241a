# SPDX-License-Identifier: Apache-2.0
"""The point of the project, to be watched: two VMs talk, and never notice.

Boots two real VMs on one network of vhost-brickd, one port of each mode, lets
them ping each other, kills the daemon under the pings, several times, and shows
what the guests saw. Exit status 0 only if all went as promised. Run by
``tools/demo.sh``.
"""

import argparse
import json
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.lab import pair
from tools.lab.lab import Guest
from tools.lab.stand import NETWORK, Host, Stand, work_dir

MODES = dict(zip(pair.NAMES, ("client", "server"), strict=True))

WHO = {
    "client": "QEMU listens, the brick connects",
    "server": "the brick listens, QEMU connects and reconnects",
}


@dataclass
class PortFigures:
    """One port's line of the table."""

    name: str
    mode: str
    packets: int
    longest_silence_ms: float
    guest_uptime_s: float
    pings_sent: int
    pings_answered: int


class Demo:
    """See the module."""

    def __init__(self, stand: Stand, kills: int) -> None:
        self._stand = stand
        self._kills = kills
        self._packets = dict.fromkeys(MODES, 0)
        self.figures: list[PortFigures] = []
        self.problems: list[str] = []

    def run(self) -> None:
        guests = self._boot()
        watches = [pair.Watch(guest) for guest in guests]
        say(f"the guests ping each other, one ping each {pair.INTERVAL_MS} ms")
        for number in range(1, self._kills + 1):
            self._kill(number, guests)
            for watch in watches:
                watch.look()
        self._count_packets()
        for watch in watches:
            self._conclude(watch)

    def _boot(self) -> list[Guest]:
        pair.make_ports(self._stand, ("client", "server"))
        for name, mode in MODES.items():
            say(f"port {name} on network {NETWORK}, {mode} mode: {WHO[mode]}")
        say("booting two VMs through libvirt")
        return pair.boot(self._stand)

    def _kill(self, number: int, guests: list[Guest]) -> None:
        self._count_packets()
        pid = self._stand.brickd.lives[-1].pid
        say(f"kill {number} of {self._kills}: SIGKILL to vhost-brickd, pid {pid}")
        dead, life = self._stand.kill(guests)
        say(f"it was ready again after {1000 * (life.ready - dead.killed):.0f} ms; pings flow")

    def _count_packets(self) -> None:
        """Add up the daemon's counters: they begin anew with each of its lives."""
        for name in MODES:
            stats = self._stand.show("port", "stats", name)
            self._packets[name] += stats["from_peer_packets"] + stats["to_peer_packets"]

    def _conclude(self, watch: pair.Watch) -> None:
        report = watch.look()
        name = watch.guest.name
        self.problems += watch.problems
        if self._packets[name] < report.answered:
            self.problems.append(f"{name}: the daemon counted fewer packets than answers")
        self.figures.append(
            PortFigures(
                name=name,
                mode=MODES[name],
                packets=self._packets[name],
                longest_silence_ms=report.longest_silence_ms,
                guest_uptime_s=report.uptime_s,
                pings_sent=report.sent,
                pings_answered=report.answered,
            )
        )


# ---- what is shown

_started = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _started:5.1f} s] {text}", flush=True)


def show_table(figures: list[PortFigures], kills: int) -> None:
    head = ("port", "mode", "packets", "longest silence", "uptime", "pings sent", "answered")
    rows = [
        (
            f.name,
            f.mode,
            f"{f.packets}",
            f"{f.longest_silence_ms:.0f} ms",
            f"{f.guest_uptime_s:.1f} s",
            f"{f.pings_sent}",
            f"{f.pings_answered}",
        )
        for f in figures
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    print(f"\nvhost-brickd was killed {kills} times under these pings:\n")
    for row in (head, tuple("-" * w for w in widths), *rows):
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    print(
        "\nA ping needs both guests, so each feels the slower port: QEMU retries a "
        "server-mode\nport once a second. 'bench/outage.py' measures the modes apart.\n"
    )


def show_host(host: Host) -> None:
    mode = "KVM" if host.kvm.usable else f"no KVM, emulated ({host.kvm.reason})"
    say(f"guests run with: {mode}")


def show_memory(stand: Stand) -> None:
    info = stand.show("status")["datapath_info"]
    say(f"vhost-brickd runs: {info['dpdk']}, {info['memory']}, worker {info['workers']}")


def show_failure(stand: Stand, directory: Path) -> None:
    print(f"\nThe end of {stand.brickd.log_path}:\n{stand.brickd.log_tail()}", file=sys.stderr)
    print(f"All logs: {directory} (guests in vm/guests, libvirt in vm/log)", file=sys.stderr)


def write_json(path: Path, ok: bool, figures: list[PortFigures]) -> None:
    path.write_text(json.dumps({"ok": ok, "ports": [asdict(f) for f in figures]}, indent=2) + "\n")


# ---- the command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/demo.sh",
        description="Two VMs ping each other through the brick while its daemon is killed.",
    )
    parser.add_argument("--kills", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def play(kills: int) -> tuple[bool, list[PortFigures]]:
    """Run it and show it; returns whether all is as promised, and the figures."""
    host = Host.probe()
    show_host(host)
    with work_dir("vb-demo") as directory:
        stand = Stand(host, directory)
        demo = Demo(stand, kills)
        try:
            with stand:
                show_memory(stand)
                demo.run()
            show_table(demo.figures, kills)
            if demo.problems:
                raise RuntimeError("; ".join(demo.problems))
        except Exception:
            traceback.print_exc()
            show_failure(stand, directory)
            raise
    return True, demo.figures


def main() -> int:
    options = arguments()
    # As Ctrl-C: everything that was started is ended in order.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    ok = False
    figures: list[PortFigures] = []
    try:
        ok, figures = play(options.kills)
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return 130
    except Exception as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
    if options.json:
        write_json(options.json, ok, figures)
    if ok:
        print("OK: no guest was rebooted, nobody did anything, and the pings went on.")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
