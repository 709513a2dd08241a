# SPDX-License-Identifier: Apache-2.0
"""What hugepages this host has to give."""

from __future__ import annotations

from pathlib import Path

POOLS = Path("/sys/kernel/mm/hugepages")
MOUNTS = Path("/proc/self/mounts")


def free_mb(pools: Path = POOLS) -> int:
    """Return the MiB in free hugepages of all sizes; 0 where the kernel has none."""
    return sum(_free_kb(pool) for pool in pools.glob("hugepages-*kB")) // 1024


def _free_kb(pool: Path) -> int:
    page_kb = int(pool.name.removeprefix("hugepages-").removesuffix("kB"))
    free = int((pool / "free_hugepages").read_text())
    # Pages another process has reserved but not touched yet still count as free.
    reserved = int((pool / "resv_hugepages").read_text())
    return max(0, free - reserved) * page_kb


def mounted(mounts: Path = MOUNTS) -> bool:
    """Tell whether a hugetlbfs is mounted, which DPDK needs to find the page sizes."""
    return any(line.split()[2] == "hugetlbfs" for line in mounts.read_text().splitlines())
