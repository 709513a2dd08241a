# SPDX-License-Identifier: Apache-2.0
"""What ``vhost-brick doctor`` finds of processors, memory and versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.doctor_support import make_site, only, served, write
from tests.unit.stub_daemon import hello
from vhost_brick_plugin.doctor import cpus, numa, pages, versions
from vhost_brick_plugin.doctor.pages import Pool, Wish
from vhost_brick_plugin.finding import Level

# -- cores -------------------------------------------------------------------


@pytest.fixture
def cpu_dir(tmp_path: Path) -> Path:
    """Eight threads on four cores, of which 2, 3 and 6 are isolated, 2 without a tick."""
    threads = {f"cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}\n" for n in range(8)}
    lists = {"online": "0-7\n", "isolated": "2-3,6\n", "nohz_full": "2\n"}
    return write(tmp_path / "cpu", lists | threads)


@pytest.mark.parametrize(
    ("workers", "level", "words"),
    [
        ("2,3", Level.OK, "workers poll on 2,3"),
        ("", Level.WARN, "worker_cores is empty"),
        ("2,8-9", Level.FAIL, "names 8,9, which this host does not have: online are 0,1,2"),
        ("2,6", Level.WARN, "workers 2,6 are threads of one processor core"),
    ],
)
def test_worker_cores(cpu_dir: Path, workers: str, level: Level, words: str) -> None:
    site = make_site(cpu_dir, dpdk__worker_cores=workers)
    found = only(cpus.check_worker_cores(site, cpu_dir))
    assert (found.level, words in found.text) == (level, True), found


@pytest.mark.parametrize(
    ("workers", "level", "words"),
    [
        ("2", Level.OK, "are isolated"),
        ("2,3", Level.WARN, "worker cores 3 are isolated, but not in nohz_full"),
        ("1,2", Level.WARN, "worker cores 1 are not isolated"),
    ],
)
def test_isolation(cpu_dir: Path, workers: str, level: Level, words: str) -> None:
    site = make_site(cpu_dir, dpdk__worker_cores=workers)
    found = only(cpus.check_isolation(site, cpu_dir))
    assert (found.level, words in found.text) == (level, True), found
    if level is Level.WARN:
        assert f"nohz_full={workers}" in found.fix


@pytest.mark.parametrize("text", ["\n", " (null)\n", None])
def test_a_kernel_that_isolates_nothing(cpu_dir: Path, text: str | None) -> None:
    for name in ("isolated", "nohz_full"):
        (cpu_dir / name).unlink()
        if text is not None:
            (cpu_dir / name).write_text(text)
    site = make_site(cpu_dir, dpdk__worker_cores="2")
    assert only(cpus.check_isolation(site, cpu_dir)).level is Level.WARN


def test_isolation_without_worker_cores_is_no_finding_of_its_own(cpu_dir: Path) -> None:
    assert list(cpus.check_isolation(make_site(cpu_dir), cpu_dir)) == []


@pytest.mark.parametrize(
    ("pins", "shared"),
    [
        ("", ""),
        ("<vcpupin vcpu='0' cpuset='4-7,^5'/>", ""),
        ("<vcpupin vcpu='0' cpuset='?'/>", ""),
        ("<vcpupin vcpu='0' cpuset='4'/><vcpupin vcpu='1' cpuset='5'/>", "5"),
        ("<vcpupin vcpu='0' cpuset='4'/><emulatorpin cpuset='0-2'/>", "2"),
    ],
)
def test_guests_on_the_cores_of_workers(tmp_path: Path, pins: str, shared: str) -> None:
    site = make_site(tmp_path, dpdk__worker_cores="2,5")
    document = f"<domain><cputune>{pins}</cputune></domain>"
    found = list(cpus.check_pins(site, "web", document))
    assert len(found) == bool(shared)
    if shared:
        assert f"pinned to {shared}, where workers poll" in found[0].text


# -- the clock ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "sources", "level", "words"),
    [
        ("tsc constant_tsc nonstop_tsc", "tsc hpet", Level.OK, "steady"),
        ("tsc constant_tsc nonstop_tsc", "kvm-clock tsc", Level.OK, "steady"),
        ("tsc constant_tsc", "tsc", Level.WARN, "lacks nonstop_tsc"),
        ("tsc", "tsc", Level.WARN, "lacks constant_tsc and nonstop_tsc"),
        ("tsc constant_tsc nonstop_tsc", "hpet acpi_pm", Level.WARN, "unstable, and uses hpet"),
    ],
)
def test_clock(tmp_path: Path, flags: str, sources: str, level: Level, words: str) -> None:
    write(
        tmp_path,
        {
            "cpuinfo": f"processor\t: 0\nflags\t\t: fpu {flags}\n",
            "available_clocksource": sources,
            "current_clocksource": sources.split()[0],
        },
    )
    found = only(cpus.check_clock(tmp_path, tmp_path / "cpuinfo"))
    assert (found.level, words in found.text) == (level, True), found


def test_a_processor_without_a_tsc_has_no_finding(tmp_path: Path) -> None:
    write(tmp_path, {"cpuinfo": "Features : fp asimd\n"})
    assert list(cpus.check_clock(tmp_path, tmp_path / "cpuinfo")) == []


# -- NUMA --------------------------------------------------------------------


@pytest.fixture
def two_nodes(tmp_path: Path) -> Path:
    return write(tmp_path / "node", {"node0/cpulist": "0-3\n", "node1/cpulist": "4-7\n"})


@pytest.mark.parametrize(
    ("workers", "card_node", "level", "words"),
    [
        ("2", 0, Level.OK, "workers are on NUMA node 0"),
        ("2", 1, Level.WARN, "0000:81:00.0 is on NUMA node 1, and no worker is: they are on 0"),
        ("2,4", 1, Level.OK, "node 0,1"),
        ("2", -1, Level.OK, "node 0"),
        ("", 0, Level.WARN, "the worker may run on any"),
    ],
)
def test_workers_and_cards(
    tmp_path: Path, two_nodes: Path, workers: str, card_node: int, level: Level, words: str
) -> None:
    pci = write(tmp_path / "pci", {"0000:81:00.0/numa_node": card_node})
    options = {"dpdk__nic": "['phys0:0000:81:00.0']", "dpdk__worker_cores": workers}
    found = only(numa.check_workers(make_site(tmp_path, **options), two_nodes, pci))
    assert (found.level, words in found.text) == (level, True), found


def test_one_node(tmp_path: Path) -> None:
    nodes = write(tmp_path / "node", {"node0/cpulist": "0-3\n"})
    assert only(numa.check_workers(make_site(tmp_path), nodes)).level is Level.OK


@pytest.mark.parametrize(
    ("workers", "memory", "words"),
    [
        ("2", {0}, ""),
        ("2", set(), ""),
        ("", {1}, ""),
        ("2", {1}, "its memory is on NUMA node 1, and workers are on 0"),
        ("2", {0, 1}, "its memory is on NUMA node 0,1"),
    ],
)
def test_guest_memory_and_workers(
    tmp_path: Path, two_nodes: Path, workers: str, memory: set[int], words: str
) -> None:
    site = make_site(tmp_path, dpdk__worker_cores=workers)
    found = list(numa.check_guest(site, "web", memory, two_nodes))
    assert len(found) == bool(words)
    if words:
        assert found[0].check == "domain web"
        assert words in found[0].text
        assert "Add a core of node 1 (4,5,6,7)" in found[0].fix


NUMATUNE = "<domain><numatune><memory mode='strict' nodeset='0-1,3'/></numatune></domain>"
MAPS = """\
7f0 bind:1 file=/dev/hugepages/x huge dirty=512 N1=512 kernelpagesize_kB=2048
7f1 default anon=900 dirty=900 N0=900 kernelpagesize_kB=4
"""


def test_where_a_guest_s_memory_is(tmp_path: Path) -> None:
    assert numa.memory_nodes("web", NUMATUNE, tmp_path, tmp_path) == {0, 1, 3}
    assert numa.memory_nodes("web", "<domain/>", tmp_path, tmp_path) == set()
    assert numa.memory_nodes("web", "no xml", tmp_path, tmp_path) == set()
    write(tmp_path, {"web.pid": "77\n", "77/numa_maps": MAPS})
    assert numa.memory_nodes("web", NUMATUNE, tmp_path, tmp_path) == {1}


# -- hugepages ---------------------------------------------------------------


def pool(node: int = 0, free: int = 512, size_kb: int = 2048) -> Pool:
    return Pool(node=node, size_kb=size_kb, total=1024, free=free)


def test_pools_are_read_by_node_and_size(tmp_path: Path) -> None:
    nodes = write(
        tmp_path,
        {
            "node0/hugepages/hugepages-2048kB/nr_hugepages": 4,
            "node0/hugepages/hugepages-2048kB/free_hugepages": 3,
            "node0/hugepages/hugepages-1048576kB/nr_hugepages": 0,
            "node0/hugepages/hugepages-1048576kB/free_hugepages": 0,
            "node1/hugepages/hugepages-1048576kB/nr_hugepages": 2,
            "node1/hugepages/hugepages-1048576kB/free_hugepages": 0,
        },
    )
    assert pages.pools(nodes) == (
        Pool(node=0, size_kb=2048, total=4, free=3),
        Pool(node=1, size_kb=1048576, total=2, free=0),
    )


def test_pools() -> None:
    assert list(pages.check_pools([])) == []
    found = only(pages.check_pools([pool()]))
    assert (found.level, "1024 of 2048 MiB" in found.text) == (Level.OK, True)
    found = only(pages.check_pools([pool(), pool(node=1, free=0)]))
    assert (found.level, "pages of 2048 KiB on node 1" in found.text) == (Level.WARN, True)
    assert "node1/hugepages/hugepages-2048kB/nr_hugepages" in found.fix


def domain(page: str = "", tune: str = "") -> str:
    return (
        f"<domain><memory unit='KiB'>2097152</memory>{tune}"
        f"<memoryBacking><hugepages>{page}</hugepages></memoryBacking></domain>"
    )


PAGE = "<page size='1048576' unit='KiB'/>"
BOUND = "<numatune><memory mode='strict' nodeset='1'/></numatune>"


def test_what_a_domain_takes(tmp_path: Path) -> None:
    meminfo = write(tmp_path, {"m": "MemTotal: 1 kB\nHugepagesize:       2048 kB\n"}) / "m"
    assert pages.wish(domain(), meminfo) == Wish(memory_mb=2048, size_kb=2048, nodes=frozenset())
    gigabytes = Wish(memory_mb=2048, size_kb=1048576, nodes=frozenset({1}))
    assert pages.wish(domain(PAGE, BOUND), meminfo) == gigabytes
    assert pages.wish("<domain><memory>1024</memory></domain>", meminfo) is None
    assert pages.wish("no xml", meminfo) is None
    assert pages.wish(domain(), tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("document", "free", "missing"),
    [
        (domain(PAGE), [2, 0], 0),
        (domain(PAGE), [1, 1], 0),
        (domain(PAGE), [1, 0], 1),
        (domain(PAGE, BOUND), [2, 0], 2),
        (domain(PAGE, BOUND), [0, 2], 0),
        ("<domain><memory>1024</memory></domain>", [0, 0], 0),
    ],
)
def test_a_domain_that_could_not_start(document: str, free: list[int], missing: int) -> None:
    present = [pool(node, pages, 1048576) for node, pages in enumerate(free)]
    found = list(pages.check_start("web", document, present))
    assert len(found) == bool(missing)
    if missing:
        assert found[0].check == "domain web"
        assert "it wants 2048 MiB in pages of 1048576 KiB" in found[0].text
        assert f"Reserve {missing} pages more of 1048576 KiB" in found[0].fix


# -- versions ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "kvm", "level"),
    [((7, 2), True, Level.OK), ((7, 2), False, Level.WARN), ((10, 0), False, Level.OK)],
)
def test_qemu(version: tuple[int, int], kvm: bool, level: Level) -> None:
    found = only(versions.check_qemu(version, kvm))
    assert found.level is level
    assert "QEMU {}.{}".format(*version) in found.text


@pytest.mark.parametrize(("version", "level"), [((9, 0), Level.OK), ((8, 10), Level.WARN)])
def test_libvirt(version: tuple[int, int], level: Level) -> None:
    assert only(versions.check_libvirt(version)).level is level


def test_versions_that_are_not_known() -> None:
    assert list(versions.check_qemu(None, True)) == []
    assert list(versions.check_libvirt(None)) == []


@pytest.mark.parametrize(
    ("dpdk", "nic", "level", "words"),
    [
        ("DPDK 22.11.11", "", Level.OK, "DPDK 22.11.11"),
        ("DPDK 25.11.0", "['p:0000:81:00.0']", Level.OK, "DPDK 25.11.0"),
        ("DPDK 21.11.9", "", Level.FAIL, "nobody has tried"),
        ("DPDK 22.11.11", "['p:net_vhost0,iface=/s']", Level.WARN, "CVE-2026-86566"),
    ],
)
def test_dpdk(tmp_path: Path, dpdk: str, nic: str, level: Level, words: str) -> None:
    introduced = hello(datapath_info={"dpdk": dpdk})
    found = only(versions.check_dpdk(served(tmp_path, introduced=introduced, dpdk__nic=nic)))
    assert (found.level, words in found.text) == (level, True), found


def test_no_dpdk_no_finding(tmp_path: Path) -> None:
    assert list(versions.check_dpdk(served(tmp_path))) == []
    assert list(versions.check_dpdk(make_site(tmp_path))) == []
