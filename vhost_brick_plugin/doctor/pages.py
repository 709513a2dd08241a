# SPDX-License-Identifier: Apache-2.0
"""Hugepages by size and NUMA node: what is free, and what domains would take."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vhost_brick_plugin import errors
from vhost_brick_plugin.doctor.numa import NODES, bound_nodes
from vhost_brick_plugin.finding import Finding, ok, warn
from vhost_brick_plugin.libvirt import xml

MEMINFO = Path("/proc/meminfo")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The hugepages of one size on one node.

    :ivar size_kb: KiB in a page.
    :ivar total: pages.
    :ivar free: pages that nobody has.
    """

    node: int
    size_kb: int
    total: int
    free: int

    @property
    def free_mb(self) -> int:
        """MiB that nobody has."""
        return self.free * self.size_kb // 1024

    def __str__(self) -> str:
        total = self.total * self.size_kb // 1024
        return f"{self.free_mb} of {total} MiB in pages of {self.size_kb} KiB on node {self.node}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a domain takes when it starts.

    :ivar size_kb: KiB in a page.
    :ivar nodes: those its memory is bound to; empty: any.
    """

    memory_mb: int
    size_kb: int
    nodes: frozenset[int]


def pools(nodes: Path = NODES) -> tuple[Pool, ...]:
    """Return the pools that have any page."""
    found = []
    for path in sorted(nodes.glob("node[0-9]*/hugepages/hugepages-*kB")):
        pool = Pool(
            node=int(path.parent.parent.name.removeprefix("node")),
            size_kb=int(path.name.removeprefix("hugepages-").removesuffix("kB")),
            total=_number(path / "nr_hugepages"),
            free=_number(path / "free_hugepages"),
        )
        if pool.total:
            found.append(pool)
    return tuple(found)


def check_pools(present: Sequence[Pool]) -> Iterator[Finding]:
    """Look for pools of which nothing is left; without any, nothing is said here."""
    spent = [pool for pool in present if not pool.free]
    for pool in spent:
        yield warn(
            "hugepage_pools",
            f"no page is left: {pool}; no guest that wants one starts there, and a running one "
            "may be ended",
            "Move guests away, or reserve more: echo NUMBER > /sys/devices/system/node/"
            f"node{pool.node}/hugepages/hugepages-{pool.size_kb}kB/nr_hugepages (best on the "
            "kernel's command line: hugepages=NUMBER).",
        )
    if present and not spent:
        yield ok("hugepage_pools", "free are " + "; ".join(map(str, present)))


# -- domains that wait for their start ---------------------------------------


def check_start(name: str, document: str, present: Sequence[Pool]) -> Iterator[Finding]:
    """Tell if the domain, which does not run, asks for more than is free; silent if not."""
    wanted = wish(document)
    if wanted is None:
        return
    fitting = [
        pool
        for pool in present
        if pool.size_kb == wanted.size_kb and (not wanted.nodes or pool.node in wanted.nodes)
    ]
    free = sum(pool.free_mb for pool in fitting)
    if free >= wanted.memory_mb:
        return
    where = f" on node {','.join(map(str, sorted(wanted.nodes)))}" if wanted.nodes else ""
    missing = -((free - wanted.memory_mb) * 1024 // wanted.size_kb)
    yield warn(
        f"domain {name}",
        f"it cannot start: it wants {wanted.memory_mb} MiB in pages of {wanted.size_kb} KiB"
        f"{where}, and {free} MiB are free",
        f"Reserve {missing} pages more of {wanted.size_kb} KiB{where} (hugepages=NUMBER on the "
        "kernel's command line, or nr_hugepages below /sys/devices/system/node), or put <source "
        "type='memfd'/> in the place of <hugepages/>.",
    )


def wish(document: str, meminfo: Path = MEMINFO) -> Wish | None:
    """Return what hugepages a domain takes, or None for none.

    :param meminfo: tells the default size, for a domain that names none.
    """
    try:
        domain = xml.parse(document)
    except errors.DomainError:
        return None
    backing = domain.find("memoryBacking/hugepages")
    memory = domain.find("memory")
    if backing is None or memory is None:
        return None
    page = backing.find("page")
    # libvirt writes all sizes in KiB.
    size_kb = _default_kb(meminfo) if page is None else int(page.get("size", 0))
    if not size_kb:
        return None
    return Wish(
        memory_mb=int(memory.text or 0) // 1024,
        size_kb=size_kb,
        nodes=frozenset(bound_nodes(document)),
    )


def _default_kb(meminfo: Path) -> int:
    try:
        match = re.search(r"^Hugepagesize:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
