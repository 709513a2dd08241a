# SPDX-License-Identifier: Apache-2.0
"""What hugepages this host has to give."""

from __future__ import annotations

from pathlib import Path

POOLS = Path("/sys/kernel/mm/hugepages")
MOUNTS = Path("/proc/self/mounts")


def total_mb(pools: Path = POOLS) -> int:
    """Return the MiB in hugepages of all sizes, free or not."""
    return sum(_kb(pool, "nr_hugepages") for pool in pools.glob("hugepages-*kB")) // 1024


def free_mb(pools: Path = POOLS) -> int:
    """Return the MiB in free hugepages of all sizes; 0 where the kernel has none."""
    return sum(_free_kb(pool) for pool in pools.glob("hugepages-*kB")) // 1024


def _free_kb(pool: Path) -> int:
    # Pages another process has reserved but not touched yet still count as free.
    return max(0, _kb(pool, "free_hugepages") - _kb(pool, "resv_hugepages"))


def _kb(pool: Path, count: str) -> int:
    page_kb = int(pool.name.removeprefix("hugepages-").removesuffix("kB"))
    return int((pool / count).read_text()) * page_kb


def mounted(mounts: Path = MOUNTS) -> bool:
    """Tell whether a hugetlbfs is mounted, which DPDK needs to find the page sizes."""
    return any(line.split()[2] == "hugetlbfs" for line in mounts.read_text().splitlines())
