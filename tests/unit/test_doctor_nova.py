# SPDX-License-Identifier: Apache-2.0
"""What ``vhost-brick doctor`` finds in nova.conf."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.doctor_support import KVM, NO_KVM
from vhost_brick_plugin import errors
from vhost_brick_plugin.cli import main as cli
from vhost_brick_plugin.conf import hugepages
from vhost_brick_plugin.doctor import kvm, nova, nova_conf
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, Level

Examine = Callable[..., dict[str, Finding]]

OPTIONS = {
    "daemon.api_socket": "/run/vhost-brick/api.sock",
    "daemon.state_dir": "/var/lib/vhost-brick",
    "dpdk.hugepages": "auto",
    "dpdk.memory_mb": "256",
    "vhost.max_queues": "16",
}

RESERVED = "reserved_huge_pages = node:0,size:2048,count:128\n"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int, int], None]:
    """Return a function that sets MiB of hugepages, how many of them are free, and CPUs."""

    def make(total: int, free: int, cpus: int) -> None:
        monkeypatch.setattr(hugepages, "total_mb", lambda: total)
        monkeypatch.setattr(hugepages, "free_mb", lambda: free)
        monkeypatch.setattr(hugepages, "mounted", lambda: total > 0)
        monkeypatch.setattr(nova, "_cpus", lambda: cpus)

    make(4096, 2048, 8)
    return make


@pytest.fixture
def examine(tmp_path: Path, host: object) -> Examine:
    """Return a function that examines a nova.conf, and returns findings by their check."""

    def run(text: str, found_of_kvm: kvm.Result = KVM, **changes: str) -> dict[str, Finding]:
        file = tmp_path / "nova.conf"
        file.write_text(text)
        options = OPTIONS | {name.replace("__", "."): value for name, value in changes.items()}
        daemon = Finding(check="daemon", level=Level.OK, text="up")
        site = Site(options=options, api_socket="/a", daemon=daemon)
        found = list(nova.examine(site, [str(file)], found_of_kvm))
        assert len({f.check for f in found}) == len(found)
        return {f.check: f for f in found}

    return run


def levels(found: dict[str, Finding]) -> dict[str, str]:
    return {f.check.removeprefix("nova_"): f.level.value for f in found.values()}


# -- reading -----------------------------------------------------------------


def test_defaults_are_novas(tmp_path: Path) -> None:
    file = tmp_path / "nova.conf"
    file.write_text("[DEFAULT]\nhost = x\n[libvirt]\ncpu_mode = none\n[never_heard_of]\na = b\n")
    conf = nova_conf.read([str(file)])
    assert (conf.virt_type, conf.file_backed_memory, conf.max_queues) == ("kvm", 0, None)
    assert (conf.ram_allocation_ratio, conf.reserved_host_memory_mb) == (None, 512)
    assert (conf.vif_plugging_is_fatal, conf.vif_plugging_timeout) == (True, 300)
    assert conf.api_socket == "/run/vhost-brick/api.sock"


def test_later_files_win_and_entries_add_up(tmp_path: Path) -> None:
    first, second = tmp_path / "nova.conf", tmp_path / "nova-compute.conf"
    first.write_text(f"[DEFAULT]\n{RESERVED}{RESERVED}[libvirt]\nvirt_type = qemu\n")
    second.write_text("[libvirt]\nvirt_type = kvm\n")
    conf = nova_conf.read([str(first), str(second)])
    assert (conf.virt_type, conf.reserved_huge_pages) == ("kvm", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[libvirt]\nrx_queue_size = 300\n", "rx_queue_size"),
        ("[DEFAULT]\nvif_plugging_timeout = soon\n", "vif_plugging_timeout"),
        ("nonsense", "nova.conf"),
    ],
)
def test_faulty_files(tmp_path: Path, examine: Examine, text: str, words: str) -> None:
    found = examine(text)
    assert levels(found) == {"config": "fail"}
    assert words in found["nova_config"].text


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"nova\.conf"):
        nova_conf.read([str(tmp_path / "nova.conf")])


def test_a_host_without_nova() -> None:
    site = Site(options={}, api_socket="/a", daemon=Finding(check="d", level=Level.OK, text="up"))
    assert list(nova.examine(site, [], KVM)) == []


# -- judging -----------------------------------------------------------------


def test_a_good_host(examine: Examine) -> None:
    found = examine(f"[DEFAULT]\n{RESERVED}")
    assert set(levels(found).values()) == {"ok"}
    assert "hw:mem_page_size=large" in found["nova_memory"].text


@pytest.mark.parametrize(
    ("virt_type", "level"), [("kvm", "ok"), ("qemu", "warn"), ("lxc", "fail")]
)
def test_virt_type(examine: Examine, virt_type: str, level: str) -> None:
    assert levels(examine(f"[libvirt]\nvirt_type = {virt_type}\n"))["virt_type"] == level


@pytest.mark.parametrize(("virt_type", "level"), [("kvm", "fail"), ("qemu", "warn")])
def test_virt_type_where_kvm_runs_no_guest(examine: Examine, virt_type: str, level: str) -> None:
    found = examine(f"[libvirt]\nvirt_type = {virt_type}\n", NO_KVM)
    assert levels(found)["virt_type"] == level


@pytest.mark.parametrize(
    ("total", "free", "level"), [(0, 0, "fail"), (4096, 0, "warn"), (4096, 2, "ok")]
)
def test_hugepages(
    examine: Examine,
    host: Callable[[int, int, int], None],
    total: int,
    free: int,
    level: str,
) -> None:
    host(total, free, 8)
    found = examine(f"[DEFAULT]\n{RESERVED}")
    assert levels(found)["memory"] == level
    if level == "fail":
        assert "hw:mem_page_size=large" in found["nova_memory"].fix
        assert "file_backed_memory" in found["nova_memory"].fix


@pytest.mark.parametrize(
    ("reserved", "choice", "total", "expected"),
    [
        ("", "auto", 4096, "warn"),
        ("", "on", 4096, "warn"),
        ("", "off", 4096, None),
        ("", "auto", 0, None),
        (RESERVED, "auto", 4096, None),
    ],
)
def test_hugepages_of_the_daemon_itself(
    examine: Examine,
    host: Callable[[int, int, int], None],
    reserved: str,
    choice: str,
    total: int,
    expected: str | None,
) -> None:
    host(total, total, 8)
    found = examine(f"[DEFAULT]\n{reserved}", dpdk__hugepages=choice)
    assert levels(found).get("reserved_pages") == expected
    if expected:
        assert "256 MiB" in found["nova_reserved_pages"].text


@pytest.mark.parametrize(
    ("beside", "missing"),
    [
        ("ram_allocation_ratio = 1.0\nreserved_host_memory_mb = 0", []),
        ("reserved_host_memory_mb = 0", ["ram_allocation_ratio = 1.0"]),
        ("ram_allocation_ratio = 1.0", ["reserved_host_memory_mb = 0"]),
        ("", ["ram_allocation_ratio = 1.0", "reserved_host_memory_mb = 0"]),
    ],
)
def test_file_backed_memory(
    examine: Examine,
    host: Callable[[int, int, int], None],
    beside: str,
    missing: list[str],
) -> None:
    host(0, 0, 8)
    found = examine(f"[DEFAULT]\n{beside}\n[libvirt]\nfile_backed_memory = 8192\n")
    memory = found["nova_memory"]
    assert memory.level is (Level.FAIL if missing else Level.OK)
    assert all(words in memory.fix for words in missing)


@pytest.mark.parametrize(
    "text",
    ["vif_plugging_is_fatal = False", "vif_plugging_timeout = 0", "vif_plugging_timeout = 10"],
)
def test_guests_that_do_not_wait_for_their_port(examine: Examine, text: str) -> None:
    assert levels(examine(f"[DEFAULT]\n{text}\n"))["plugging"] == "warn"


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("api_socket = /somewhere", Level.FAIL),
        ("state_dir = /somewhere", Level.FAIL),
        ("timeout = 0.5", Level.WARN),
        ("timeout = 60", Level.WARN),
        ("api_socket = /run/../run/vhost-brick/api.sock", Level.OK),
    ],
)
def test_the_plugin_and_the_daemon(examine: Examine, text: str, level: Level) -> None:
    found = examine(f"[os_vif_vhostuser_fp]\n{text}\n")["nova_os_vif"]
    assert found.level is level
    if level is Level.FAIL:
        name = text.split()[0]
        assert f"{name} = {OPTIONS[f'daemon.{name}']}" in found.fix


@pytest.mark.parametrize(
    ("text", "cpus", "offered", "level"),
    [
        ("", 16, "16", "ok"),
        ("", 17, "16", "warn"),
        ("max_queues = 16", 64, "16", "ok"),
        ("max_queues = 17", 64, "16", "warn"),
        ("max_queues = 64", 8, "16", "ok"),
        ("max_queues = 4", 8, "2", "warn"),
        ("virt_type = qemu", 64, "16", "ok"),
    ],
)
def test_queues(
    examine: Examine,
    host: Callable[[int, int, int], None],
    text: str,
    cpus: int,
    offered: str,
    level: str,
) -> None:
    host(4096, 4096, cpus)
    found = examine(f"[libvirt]\n{text}\n", vhost__max_queues=offered)
    assert levels(found)["queues"] == level
    if level == "warn":
        assert f"max_queues = {offered}" in found["nova_queues"].fix


@pytest.mark.parametrize(
    ("text", "workers", "level", "words"),
    [
        ("cpu_dedicated_set = 4-7,^5", "5", "ok", "no guest"),
        ("cpu_dedicated_set = 4-7", "2,5", "warn", "may put guests on 5,"),
        ("cpu_dedicated_set = 4-7\ncpu_shared_set = 0-3", "2,5", "warn", "may put guests on 2,5"),
        ("", "2", "warn", "counts all cores"),
        ("cpu_shared_set = all", "2", "fail", "[compute] cpu_shared_set: 'all'"),
        ("", "", None, ""),
    ],
)
def test_cpus(examine: Examine, text: str, workers: str, level: str | None, words: str) -> None:
    found = examine(f"[compute]\n{text}\n", dpdk__worker_cores=workers)
    assert levels(found).get("cpus") == level
    if level:
        assert words in found["nova_cpus"].text


def test_ring_sizes(examine: Examine) -> None:
    short = examine("[libvirt]\nrx_queue_size = 512\n")["nova_ring_sizes"].text
    assert short.startswith("rings have 512 descriptors to the guest and 256 from it; ")
    long = examine("[libvirt]\nrx_queue_size = 1024\ntx_queue_size = 1024\n")
    assert long["nova_ring_sizes"].text.endswith("1024 descriptors to the guest and 1024 from it")


# -- the command -------------------------------------------------------------


def test_doctor_reads_the_files_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nova.conf"
    file.write_text("[libvirt]\nvirt_type = lxc\n")
    words = ["--api-socket", "/nonexistent", "--timeout", "1", "doctor", "-f", "json"]
    words += ["--connect", "test:///default", "--nova-config-file", str(file)]
    assert cli.main(words) == 1
    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["nova_virt_type"]["result"] == "fail"
