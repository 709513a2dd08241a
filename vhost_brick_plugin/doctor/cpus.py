# SPDX-License-Identifier: Apache-2.0
"""The cores that workers poll on, and the clock that they read."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from vhost_brick_plugin.conf.types import parse_cores
from vhost_brick_plugin.doctor.kernel import read, read_list
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, fail, ok, warn
from vhost_brick_plugin.libvirt import xml

CPUS = Path("/sys/devices/system/cpu")
CLOCK = Path("/sys/devices/system/clocksource/clocksource0")
CPUINFO = Path("/proc/cpuinfo")

_STEADY = ("constant_tsc", "nonstop_tsc")
"""Flags of a processor whose TSC neither changes its rate nor stops."""


def parse_spec(text: str) -> set[int]:
    """Return the cores in *text* as libvirt and Nova write them, such as ``4-12,^8``.

    :raises ValueError: it is no such list.
    """
    words = [word.strip() for word in text.split(",")]
    cores = set(parse_cores(",".join(w for w in words if not w.startswith("^"))))
    return cores - set(parse_cores(",".join(w[1:] for w in words if w.startswith("^"))))


def write_list(numbers: Collection[int]) -> str:
    """Return *numbers* as an operator writes them."""
    return ",".join(map(str, sorted(numbers)))


# -- cores -------------------------------------------------------------------


def check_worker_cores(site: Site, cpus: Path = CPUS) -> Iterator[Finding]:
    """Make sure that each worker has a core, and one of its own."""
    workers, online = site.workers, read_list(cpus / "online")
    if not workers:
        yield warn(
            "worker_cores",
            "[dpdk] worker_cores is empty: the one worker runs wherever the kernel puts it, and "
            "shares that core with guests",
            "Set [dpdk] worker_cores to cores that are isolated and that no guest is pinned to, "
            "and restart vhost-brickd.",
        )
    elif missing := set(workers) - set(online):
        yield fail(
            "worker_cores",
            f"[dpdk] worker_cores names {write_list(missing)}, which this host does not have: "
            f"online are {write_list(online)}",
            "Correct [dpdk] worker_cores and restart vhost-brickd.",
        )
    elif shared := _sharing(workers, cpus):
        yield warn(
            "worker_cores",
            f"workers {write_list(shared)} are threads of one processor core: each slows the "
            "other",
            "Take one of them out of [dpdk] worker_cores and restart vhost-brickd.",
        )
    else:
        yield ok("worker_cores", f"workers poll on {write_list(workers)}")


def _sharing(workers: Collection[int], cpus: Path) -> set[int]:
    """Return workers that are on hardware threads of one core."""
    for worker in workers:
        threads = set(read_list(cpus / f"cpu{worker}" / "topology" / "thread_siblings_list"))
        if len(shared := threads & set(workers)) > 1:
            return shared
    return set()


def check_isolation(site: Site, cpus: Path = CPUS) -> Iterator[Finding]:
    """Make sure that the kernel leaves the workers' cores alone; without any, all is said."""
    workers = set(site.workers)
    if not workers:
        return
    cores = write_list(workers)
    if shared := workers - set(read_list(cpus / "isolated")):
        yield warn(
            "isolated_cpus",
            f"worker cores {write_list(shared)} are not isolated: other processes run there too, "
            "and packets wait meanwhile",
            f"Add isolcpus=managed_irq,domain,{cores} nohz_full={cores} rcu_nocbs={cores} to the "
            "kernel's command line and reboot.",
        )
    elif ticking := workers - set(read_list(cpus / "nohz_full")):
        yield warn(
            "isolated_cpus",
            f"worker cores {write_list(ticking)} are isolated, but not in nohz_full: the timer "
            "interrupts them up to a thousand times a second",
            f"Add nohz_full={cores} rcu_nocbs={cores} to the kernel's command line and reboot.",
        )
    else:
        yield ok("isolated_cpus", f"worker cores {cores} are isolated, and have no timer tick")


def check_pins(site: Site, name: str, document: str) -> Iterator[Finding]:
    """Tell if a domain's virtual processors are bound to workers' cores; silent if not."""
    if shared := set(site.workers) & _pins(document):
        yield warn(
            f"domain {name}",
            f"its virtual processors are pinned to {write_list(shared)}, where workers poll: "
            "each takes the core from the other",
            f"Take {write_list(shared)} out of its <cputune> (virsh vcpupin {name}; Nova: "
            "[compute] cpu_dedicated_set), or out of [dpdk] worker_cores.",
        )


def _pins(document: str) -> set[int]:
    """Return the cores that a domain document binds virtual processors or QEMU to."""
    domain = xml.parse(document)
    places = [*domain.findall("cputune/vcpupin"), *domain.findall("cputune/emulatorpin")]
    cores: set[int] = set()
    for place in places:
        with contextlib.suppress(ValueError):
            cores |= parse_spec(place.get("cpuset", ""))
    return cores


# -- the clock ---------------------------------------------------------------


def check_clock(clock: Path = CLOCK, cpuinfo: Path = CPUINFO) -> Iterator[Finding]:
    """Make sure that the TSC counts evenly: workers take their time from it, on x86."""
    flags = _flags(cpuinfo)
    if "tsc" not in flags:
        return
    sources = read(clock / "available_clocksource").split()
    if missing := [flag for flag in _STEADY if flag not in flags]:
        yield warn(
            "clock",
            f"the processor lacks {' and '.join(missing)}: its time stamp counter changes its "
            "rate or stops, and sleeps of workers and times of packets are wrong",
            "On a virtual host, let it pass the host's processor on (host-passthrough, invtsc); "
            "else set the governor to performance and turn deep C-states off.",
        )
    elif sources and "tsc" not in sources:
        yield warn(
            "clock",
            "the kernel has found the time stamp counter (TSC) unstable, and uses "
            f"{read(clock / 'current_clocksource')}: times that workers take are wrong",
            "See 'dmesg | grep -i tsc': update the firmware, or take what it names off.",
        )
    else:
        yield ok("clock", "the time stamp counter is steady")


def _flags(cpuinfo: Path) -> Collection[str]:
    for line in read(cpuinfo).splitlines():
        if line.startswith("flags"):
            return line.partition(":")[2].split()
    return ()
