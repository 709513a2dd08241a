# SPDX-License-Identifier: Apache-2.0
"""Whether workers, guests' memory and network cards are on one NUMA node.

Each packet that crosses between nodes waits for the link between them twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from vhost_brick_plugin import errors
from vhost_brick_plugin.doctor.cpus import write_list
from vhost_brick_plugin.doctor.kernel import read_list
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, ok, warn
from vhost_brick_plugin.libvirt import xml

NODES = Path("/sys/devices/system/node")
PCI = Path("/sys/bus/pci/devices")
PROC = Path("/proc")
QEMU_PIDS = Path("/run/libvirt/qemu")
"""Where libvirt leaves the process id of each running domain."""

_PCI = re.compile(r"\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b", re.IGNORECASE)
_PAGES = re.compile(r"\bN(\d+)=(\d+)\b")
_PAGE_KB = re.compile(r"\bkernelpagesize_kB=(\d+)\b")
_SMALL_PART = 0.05
"""A guest's memory counts as on a node if more than this part of it is."""


def cores_of_nodes(nodes: Path = NODES) -> dict[int, tuple[int, ...]]:
    """Return the cores of each node."""
    return {
        int(node.name.removeprefix("node")): read_list(node / "cpulist")
        for node in sorted(nodes.glob("node[0-9]*"))
    }


def worker_nodes(site: Site, nodes: Mapping[int, tuple[int, ...]]) -> set[int]:
    """Return the nodes that workers run on; none where they may run anywhere."""
    return {node for node, cores in nodes.items() if set(cores) & set(site.workers)}


# -- workers and network cards -----------------------------------------------


def check_workers(site: Site, nodes: Path = NODES, pci: Path = PCI) -> Iterator[Finding]:
    """Look where workers are, and the cards that they serve."""
    known = cores_of_nodes(nodes)
    if len(known) < 2:
        yield ok("numa", "this host has one NUMA node")
        return
    ours = worker_nodes(site, known)
    if not ours:
        yield warn(
            "numa",
            f"this host has {len(known)} NUMA nodes, and the worker may run on any",
            "Set [dpdk] worker_cores to cores of the node that guests and network cards are on.",
        )
        return
    far = {card: node for card, node in _cards(site, pci).items() if node not in ours}
    for card, node in far.items():
        cores = write_list(known.get(node, ()))
        yield warn(
            "numa",
            f"network card {card} is on NUMA node {node}, and no worker is: they are on "
            f"{write_list(ours)}",
            f"Add a core of node {node} ({cores}) to [dpdk] worker_cores and restart "
            "vhost-brickd.",
        )
    if not far:
        yield ok("numa", f"workers are on NUMA node {write_list(ours)}, as are the network cards")


def _cards(site: Site, pci: Path) -> dict[str, int]:
    """Return the node of each PCI device under [dpdk] nic whose node the kernel knows."""
    found = {}
    for address in _PCI.findall(site.options.get("dpdk.nic", "")):
        try:
            node = int((pci / address.lower() / "numa_node").read_text())
        except (OSError, ValueError):
            continue
        if node >= 0:
            found[address] = node
    return found


# -- guests ------------------------------------------------------------------


def check_guest(site: Site, name: str, memory: set[int], nodes: Path = NODES) -> Iterator[Finding]:
    """Compare the nodes that a guest's *memory* is on with the workers'; silent if it fits.

    :param memory: empty: not known.
    """
    known = cores_of_nodes(nodes)
    ours = worker_nodes(site, known)
    if ours and memory and (far := memory - ours):
        cores = write_list({core for node in far for core in known.get(node, ())})
        yield warn(
            f"domain {name}",
            f"its memory is on NUMA node {write_list(memory)}, and workers are on "
            f"{write_list(ours)}: each of its packets crosses between nodes",
            f"Add a core of node {write_list(far)} ({cores}) to [dpdk] worker_cores; or pin the "
            f"guest with <numatune><memory mode='strict' nodeset='{write_list(ours)}'/> (Nova: "
            "hw:numa_nodes, and [compute] cpu_dedicated_set of that node).",
        )


def memory_nodes(name: str, document: str, pids: Path = QEMU_PIDS, proc: Path = PROC) -> set[int]:
    """Return the nodes a domain's memory is on, or is bound to; empty if that is not known."""
    try:
        pid = (pids / f"{name}.pid").read_text().strip()
        return _mapped_nodes((proc / pid / "numa_maps").read_text())
    except OSError:
        return bound_nodes(document)


def bound_nodes(document: str) -> set[int]:
    """Return the nodes that a domain document binds the memory to."""
    try:
        memory = xml.parse(document).find("numatune/memory")
    except errors.DomainError:
        return set()
    text = None if memory is None else memory.get("nodeset")
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text or ""):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _mapped_nodes(maps: str) -> set[int]:
    """Return the nodes with a part of a process' memory that matters."""
    sizes: dict[int, int] = {}
    for line in maps.splitlines():
        page = _PAGE_KB.search(line)
        for node, pages in _PAGES.findall(line):
            size = int(pages) * (int(page[1]) if page else 4)
            sizes[int(node)] = sizes.get(int(node), 0) + size
    total = sum(sizes.values())
    return {node for node, size in sizes.items() if size > total * _SMALL_PART}
