# SPDX-License-Identifier: Apache-2.0
"""What passes between two real VMs, by iperf3, with checksum and segmentation offload and without.

Four VMs are on ports of one switch, two with network cards that take checksums and
segments off their drivers, and two without.  TCP and UDP go over IPv4 and IPv6 between the
first two (``both``), from one with to one without (``to one without``: the daemon finishes
frames in software), and between the last two (``none``), and files whose sums are compared.
What a guest counts as a wrong checksum fails the run.  Rounds are interleaved.

Without KVM the figures are those of an emulated processor: they compare with one another,
and with nothing else.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.lab.iperf import NO_OFFLOADS, End, boot, build_image
from tools.lab.stand import CACHE_DIR, Host, Stand, work_dir

CARDS = ((), (), NO_OFFLOADS, NO_OFFLOADS)

WAYS = {"both": (0, 1), "to one without": (0, 2), "none": (2, 3)}
"""From which VM to which."""

PROTOCOLS = ("tcp", "udp")
VERSIONS = (4, 6)

UDP_OPTIONS = ("-u", "-b", "0", "-l", "1400")
"""As fast as it can, in datagrams that no MTU divides."""

FILE_MIB = 8


def counters(stand: Stand, sender: End) -> tuple[int, int]:
    """Return packets and bytes that came from a VM so far."""
    shown = stand.show("port", "stats", sender.guest.name)
    return int(shown["from_peer_packets"]), int(shown["from_peer_bytes"])


def run_once(
    stand: Stand, sender: End, receiver: End, protocol: str, version: int, seconds: int
) -> dict[str, float]:
    before = counters(stand, sender)
    options = UDP_OPTIONS if protocol == "udp" else ()
    end = sender.iperf(receiver, version, *options, seconds=seconds)
    packets, size = (b - a for a, b in zip(before, counters(stand, sender), strict=True))
    figures = {"bytes_a_frame": round(size / packets, 1)}
    if protocol == "tcp":
        figures["mbit_s"] = round(end["sum_received"]["bits_per_second"] / 1e6, 1)
        figures["retransmits"] = end["sum_sent"]["retransmits"]
    else:
        lost = end["sum"]["lost_packets"] / end["sum"]["packets"]
        figures["mbit_s"] = round(end["sum"]["bits_per_second"] / 1e6 * (1 - lost), 1)
        figures["lost_percent"] = round(100 * lost, 2)
    return figures


def measure(stand: Stand, ends: list[End], rounds: int, seconds: int) -> list[dict[str, Any]]:
    """Return a row for each way, protocol and version."""
    runs: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for protocol, version, way in itertools.product(PROTOCOLS, VERSIONS, WAYS):
            sender, receiver = (ends[i] for i in WAYS[way])
            figures = run_once(stand, sender, receiver, protocol, version, seconds)
            runs.setdefault((way, protocol, version), []).append(figures)
            print(f"{way}, {protocol}, IPv{version}: {figures}", flush=True)
    return [
        {
            "cards": way,
            "protocol": protocol,
            "ip": version,
            "rounds": rounds,
            "mbit_s_median": statistics.median(r["mbit_s"] for r in each),
            "bytes_a_frame_median": statistics.median(r["bytes_a_frame"] for r in each),
            "each": each,
        }
        for (way, protocol, version), each in sorted(runs.items())
    ]


def files_arrive(ends: list[End]) -> bool:
    """Send a file each way that is measured; tell whether all came as they were sent."""
    return all(
        len(set(ends[a].copy(ends[b], version, FILE_MIB))) == 1
        for version in VERSIONS
        for a, b in WAYS.values()
    )


def describe(host: Host, stand: Stand) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "kvm": host.kvm.usable,
        "load_1min": os.getloadavg()[0],
        "datapath": stand.show("status")["datapath_info"],
    }


def show(results: dict[str, Any]) -> None:
    line = "{:<15} {:<9} {:<4} {:>8} {:>14}"
    print("\n" + line.format("cards", "protocol", "IP", "Mbit/s", "bytes a frame"))
    for row in results["rows"]:
        print(
            line.format(
                *(row["cards"], row["protocol"], row["ip"]),
                *(row["mbit_s_median"], row["bytes_a_frame_median"]),
            )
        )
    if not results["ok"]:
        print(f"WRONG: {results['checksum_errors']}, files arrived: {results['files_arrived']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=5, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=Path(__file__).parent / "results" / "iperf.json",
        help="default: %(default)s",
    )
    options = parser.parse_args()
    host = Host.probe()
    with work_dir("vb-iperf") as directory, Stand(host, directory) as stand:
        stand.create_network()
        ends = boot(stand, build_image(CACHE_DIR), CARDS)
        rows = measure(stand, ends, options.rounds, options.seconds)
        arrived = files_arrive(ends)
        errors = {end.guest.name: end.errors() for end in ends}
        results = {
            "ok": arrived and not any(n for e in errors.values() for n in e.values()),
            "host": describe(host, stand),
            "files_arrived": arrived,
            "checksum_errors": errors,
            "rows": rows,
        }
    show(results)
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if results["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
