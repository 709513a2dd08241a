# SPDX-License-Identifier: Apache-2.0
"""How long plugging a port takes where there are hundreds, and whether a resync disturbs any.

A real vhost-brickd serves 500 ports of Neutron's kind (filtered, on guarded networks that
share a trunk by VLAN), each with a connected guest.  Two more guests talk to each other all
the time, and must lose nothing.  Measured is what a caller on the control socket sees.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.frontend import vuser
from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import VUser
from tests.functional.daemon import Daemon
from tests.functional.exchange import mac
from tests.functional.waiting import wait_until
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.model import AddressPair, PortSecurity, SecurityMode, Uplink, UplinkKind

PLUG_BOUND_MS = 50.0
"""What is promised of one plug."""

TRUNK = "trunk0"
CONFIG = {"dpdk": {"nic": f"{TRUNK}:net_ring0", "mbufs": 65536, "memory_mb": 512}}
BUSY = ("busy-a", "busy-b")
RATE = 500
"""Frames a second between the two that talk."""


class Site:
    """The daemon with its networks, ports and guests."""

    def __init__(self, daemon: Daemon, ports: int, networks: int) -> None:
        self.daemon = daemon
        self.client = Client(str(daemon.api_socket), timeout=30.0)
        self.ports = [f"port-{i}" for i in range(ports)]
        self._networks = networks

    def ensure_network(self, number: int) -> None:
        self.client.network_ensure(
            network=f"net-{number}",
            uplinks=(Uplink(kind=UplinkKind.NIC, name=TRUNK, vlan=100 + number),),
            guarded=True,
        )

    def ensure_networks(self) -> None:
        for number in range(self._networks):
            self.ensure_network(number)

    def ensure_port(self, id: str, number: int, network: int | None = None) -> None:
        """Make a port as the agent would; the same again changes nothing."""
        pair = AddressPair(mac=mac(number), ip=f"10.0.{number >> 8}.{number & 255}")
        filtered = PortSecurity(mode=SecurityMode.FILTERED, allowed=(pair,))
        own = number % self._networks if network is None else network
        self.client.port_ensure(
            id=id,
            network=f"net-{own}",
            mode="client",
            mac=mac(number),
            queues=1,
            # Those that talk send no IP of their own address.
            security=PortSecurity(mode=SecurityMode.OPEN) if id in BUSY else filtered,
        )

    def ensure_ports(self) -> None:
        for number, id in enumerate(self.ports):
            self.ensure_port(id, number)
        for number, id in enumerate(BUSY, len(self.ports)):
            self.ensure_port(id, number, network=0)

    def sessions(self) -> dict[str, tuple[tuple[int, float], ...]]:
        """Return number and age of the sessions of all ports but those that are plugged."""
        listed = self.client.port_list().ports
        wanted = {*self.ports, *BUSY}
        return {
            p.port.id: tuple((s.number, s.since) for s in p.sessions)
            for p in listed
            if p.port.id in wanted
        }

    def all_running(self) -> bool:
        return all(p.state == "running" for p in self.client.port_list().ports)


@contextlib.contextmanager
def site(ports: int, networks: int) -> Iterator[tuple[Site, VUser]]:
    """Start everything, and wait until every guest is connected."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vbp-")))
        daemon = Daemon(directory, config=CONFIG)
        stack.callback(daemon.cleanup)
        daemon.start()
        made = Site(daemon, ports, networks)
        made.ensure_networks()
        made.ensure_ports()
        guests = [
            stack.enter_context(Frontend(daemon.socket_path(id), listen=True, ring_size=64))
            for id in made.ports
        ]
        busy = stack.enter_context(VUser(directory))
        for number, id in enumerate(BUSY, len(made.ports)):
            busy.add(id, daemon.socket_path(id), server=True, mac=mac(number))
        for guest in guests:
            guest.connect(timeout=60)
        for id in BUSY:
            busy.wait_link(id, timeout=60)
        wait_until(made.all_running, "all guests to be connected", timeout=60)
        yield made, busy


def timed(function: Callable[..., object], *args: Any, **kwargs: Any) -> float:
    """Return the milliseconds that a call takes."""
    before = time.perf_counter()
    function(*args, **kwargs)
    return 1000 * (time.perf_counter() - before)


def synced_write(directory: Path) -> None:
    """Do to the disk what storing a change does, and nothing else."""
    data = (directory / "ports.json").read_bytes()
    with (directory / "probe").open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(directory / "probe", directory / "probed")
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def plugs(here: Site, count: int) -> dict[str, list[float]]:
    """Plug and unplug one port so many times; return the milliseconds of each.

    By turns with a write to the same disk: on a busy one that is most of it.
    """
    took: dict[str, list[float]] = {"plug": [], "unplug": [], "disk alone": []}
    first = len(here.ports) + len(BUSY)
    for number in range(first, first + count):
        took["plug"].append(timed(here.ensure_port, "plugged", number))
        took["unplug"].append(timed(here.client.port_remove, id="plugged"))
        took["disk alone"].append(timed(synced_write, here.daemon.state_dir))
    return took


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "min": round(ordered[0], 2),
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 2),
        "max": round(ordered[-1], 2),
    }


def measure(here: Site, busy: VUser, count: int) -> dict[str, Any]:
    """Return all figures, and whether they are as promised."""
    before = here.sessions()
    sender, receiver = BUSY
    busy.reset()
    busy.start(sender, dst=mac(len(here.ports) + 1), rate=RATE)
    wait_until(lambda: busy.stats(receiver).rx > RATE // 10, "traffic")
    took = plugs(here, count)
    state = (here.daemon.state_dir / "ports.json").stat()
    resync_ms = timed(lambda: (here.ensure_networks(), here.ensure_ports()))
    stored = (here.daemon.state_dir / "ports.json").stat()
    busy.stop(sender)
    wait_until(
        lambda: busy.stats(receiver).rx + busy.stats(receiver).lost >= busy.stats(sender).tx,
        "the last frame",
    )
    traffic = busy.stats(receiver)
    checks = {
        "plug within bound": max(took["plug"]) <= PLUG_BOUND_MS,
        "no session disturbed": here.sessions() == before,
        "no frame lost": traffic.lost == 0,
        "resync stored nothing": (state.st_ino, state.st_mtime_ns)
        == (stored.st_ino, stored.st_mtime_ns),
    }
    return {
        "ok": all(checks.values()),
        "checks": checks,
        "plug_bound_ms": PLUG_BOUND_MS,
        "ms": {what: spread(values) for what, values in took.items()},
        "resync_ms": round(resync_ms, 1),
        "traffic": {
            "frames": traffic.rx,
            "lost": traffic.lost,
            "longest_silence_ms": round(traffic.silence_us / 1000, 2),
        },
    }


def describe(here: Site, networks: int) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "load_1min": os.getloadavg()[0],
        "datapath": dict(here.client.hello().datapath_info),
        "ports": len(here.ports) + len(BUSY),
        "networks": networks,
    }


def show(result: dict[str, Any]) -> None:
    print(f"\n  {'ms':<12}{'min':>9}{'median':>9}{'p99':>9}{'max':>9}")
    for what, values in result["ms"].items():
        print("  {:<12}{min:>9.2f}{median:>9.2f}{p99:>9.2f}{max:>9.2f}".format(what, **values))
    print(f"\n  resync of {result['host']['ports']} unchanged ports: {result['resync_ms']:.0f} ms")
    print(
        "  traffic meanwhile: {frames} frames, {lost} lost, longest silence "
        "{longest_silence_ms} ms".format(**result["traffic"])
    )
    for check, passed in result["checks"].items():
        print(f"  {'ok  ' if passed else 'FAIL'} {check}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ports", type=int, default=500, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--networks", type=int, default=20, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--plugs", type=int, default=100, metavar="N", help="default: %(default)s")
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
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    vuser.build()
    with site(options.ports, options.networks) as (here, busy):
        host = describe(here, options.networks)
        result = {"host": host, **measure(here, busy, options.plugs)}
    show(result)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {options.json}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
