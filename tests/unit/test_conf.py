# SPDX-License-Identifier: Apache-2.0
"""From config files to settings."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest
from oslo_config import cfg, generator

import vhost_brick_plugin
from vhost_brick_plugin import errors
from vhost_brick_plugin.conf import hugepages, opts, os_vif
from vhost_brick_plugin.conf.types import parse_cores, parse_mode
from vhost_brick_plugin.daemon import configure
from vhost_brick_plugin.daemon.settings import KEEP, Settings
from vhost_brick_plugin.model import Mode

CHECKOUT = Path(vhost_brick_plugin.__file__).parents[1]
ETC = CHECKOUT / "etc" / "vhost-brick"


@pytest.fixture
def resolve(tmp_path: Path):
    """Return a function that resolves the text of a config file."""

    def resolve(text: str = "", datapath: str = "fake") -> Settings:
        path = tmp_path / "c.conf"
        path.write_text(f"[daemon]\ndatapath = {datapath}\n{text}")
        return configure.resolve(configure.load(["--config-file", str(path)]))

    return resolve


def test_defaults(resolve) -> None:
    made = resolve("[dpdk]\nhugepages = off")
    assert made.state_dir == "/var/lib/vhost-brick"
    assert made.api_socket == "/run/vhost-brick/api.sock"
    assert (made.api_access.gid, made.api_access.mode) == (KEEP, 0o660)
    assert made.socket_dir == "/run/vhost-brick/sockets"
    assert made.port_access == type(made.port_access)(uid=KEEP, gid=KEEP, mode=0o660)
    assert made.default_mode is Mode.CLIENT
    assert made.max_queues == 16
    assert made.offloads
    assert made.datapath_class == "vhost_brick_plugin.datapath.fake:FakeDatapath"
    assert made.options.worker_cores == ()
    assert made.options.hugepages is False
    assert made.options.nics == {}


def test_everything_set(resolve) -> None:
    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    made = resolve(
        f"""
        state_dir = /tmp/x/../s
        api_socket = /tmp/a
        api_socket_group = {group.gr_name}
        api_socket_mode = 0600
        [dpdk]
        worker_cores = 3,1-2
        control_cores = 0
        idle_sleep_us = 0
        memory_mb = 512
        hugepages = on
        extra_eal_args = --vdev=net_tap0,iface=x --log-level 'a b'
        mbufs = 2048
        mac_table_size = 64
        mac_ageing = 0
        nic = phys0:0000:81:00.0,rx=1
        nic = phys1:net_af_packet0,iface=eth1
        [vhost]
        socket_dir = /tmp/d
        socket_owner = {user.pw_name}
        socket_group = 4711
        socket_mode = 666
        default_mode = server
        max_queues = 2
        offloads = false
        """.replace("\n        ", "\n")
    )
    assert (made.state_dir, made.api_socket, made.socket_dir) == ("/tmp/s", "/tmp/a", "/tmp/d")
    assert (made.api_access.gid, made.api_access.mode) == (group.gr_gid, 0o600)
    access = made.port_access
    assert (access.uid, access.gid, access.mode) == (user.pw_uid, 4711, 0o666)
    assert (made.default_mode, made.max_queues) == (Mode.SERVER, 2)
    assert not made.offloads
    options = made.options
    assert (options.worker_cores, options.control_cores) == ((3, 1, 2), (0,))
    assert options.idle_sleep_us == 0
    assert (options.memory_mb, options.mbufs, options.hugepages) == (512, 2048, True)
    assert options.extra_eal_args == ("--vdev=net_tap0,iface=x", "--log-level", "a b")
    assert (options.mac_table_size, options.mac_ageing_s) == (64, 0)
    assert options.nics == {
        "phys0": "0000:81:00.0,rx=1",
        "phys1": "net_af_packet0,iface=eth1",
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("state_dir = here", "state_dir"),
        ("api_socket = here", "api_socket"),
        (f"api_socket = /{'x' * 103}", "api_socket"),
        ("api_socket_group = nobody-has-this", "api_socket_group"),
        ("api_socket_mode = rw", "api_socket_mode"),
        ("api_socket_mode = 0888", "api_socket_mode"),
        ("[vhost]\nsocket_owner = nobody-is-this", "socket_owner"),
        ("[vhost]\nsocket_dir = here", "socket_dir"),
        ("[vhost]\ndefault_mode = both", "default_mode"),
        ("[vhost]\nmax_queues = 0", "max_queues"),
        ("[vhost]\nmax_queues = many", "max_queues"),
        ("[dpdk]\nworker_cores = 1-", "worker_cores"),
        ("[dpdk]\nworker_cores = 1,2\ncontrol_cores = 2", "core 2"),
        ("[dpdk]\nmac_table_size = 100", "mac_table_size"),
        ("[dpdk]\nextra_eal_args = 'open", "dpdk"),
        ("[dpdk]\nhugepages = maybe", "hugepages"),
        ("[dpdk]\nnic = phys0", "nic.*NAME:DEVARGS"),
        ("[dpdk]\nnic = :net_ring0", "interface name"),
        ("[dpdk]\nnic = a-name-that-is-too-long:net_ring0", "interface name"),
        ("[dpdk]\nnic = phys0:eth1", "net_af_packet0,iface=NAME"),
        ("[dpdk]\nnic = phys0:", "neither a PCI address"),
        ("[dpdk]\nnic = phys0:0000:81:00.9", "neither a PCI address"),
        ("[dpdk]\nnic = phys0:net_ring0, x=1", "space"),
        ("[dpdk]\nnic = a:net_ring0\nnic = a:net_ring1", "'a' is described twice"),
        ("[dpdk]\nnic = a:net_ring0\nnic = b:net_ring0,x=1", "both 'net_ring0'"),
        ("no option at all", "no option at all"),
    ],
)
def test_a_bad_option_is_named(resolve, text: str, names: str) -> None:
    with pytest.raises(errors.ConfigError, match=names) as caught:
        resolve(text)
    assert caught.value.hint


def test_an_unknown_datapath_is_named(resolve) -> None:
    with pytest.raises(errors.ConfigError, match="none called 'dpkd'"):
        resolve(datapath="dpkd")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"nowhere\.conf") as raised:
        configure.load(["--config-file", str(tmp_path / "nowhere.conf")])
    assert "--config-file" in raised.value.hint


def test_the_environment_has_no_say(resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The boot record does not cover it."""
    monkeypatch.setenv("OS_VHOST__MAX_QUEUES", "3")
    assert resolve().max_queues == 16


def test_dump_has_every_option(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    path.write_text("[vhost]\nmax_queues = 3\n")
    dumped = configure.dump(configure.load(["--config-file", str(path)]))
    names = {f"{group.name}.{o.name}" for group, found in opts.list_opts() for o in found}
    assert set(dumped.options) == names
    assert dumped.options["vhost.max_queues"] == "3"
    assert dumped.files == (str(path),)


# -- the sample --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first"), [("vhost-brick", "daemon"), ("nova", "os_vif_vhost_brick")]
)
def test_the_samples_are_in_step(tmp_path: Path, name: str, first: str) -> None:
    """If not: oslo-config-generator --config-file etc/vhost-brick/NAME-config-generator.conf."""
    made = tmp_path / "sample"
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    config_file = ETC / f"{name}-config-generator.conf"
    conf(["--config-file", str(config_file), "--output-file", str(made)], use_env=False)
    generator.generate(conf)
    assert _our_part(made, first) == _our_part(ETC / f"{name}.conf.sample", first)


def _our_part(sample: Path, first: str) -> str:
    """Leave out what comes before our *first* group: oslo.log's options vary with its version."""
    text = sample.read_text()
    return text[text.index(f"[{first}]\n") :]


def test_the_sample_is_a_config_file() -> None:
    conf = configure.load(["--config-file", str(ETC / "vhost-brick.conf.sample")])
    assert conf.vhost.max_queues == 16


def test_every_option_is_explained() -> None:
    for _group, found in opts.list_opts() + os_vif.list_opts():
        for opt in found:
            assert opt.help.endswith("."), opt.name


# -- types -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cores"),
    [("", ()), ("3", (3,)), ("1,3-4", (1, 3, 4)), (" 5 , 0-0 ", (5, 0)), ("1,", (1,))],
)
def test_core_lists(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cores(text) == cores


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1,1", "0-2,1", "1024", "0-99999999"])
def test_bad_core_lists(text: str) -> None:
    with pytest.raises(ValueError, match=r"core|range|backwards"):
        parse_cores(text)


@pytest.mark.parametrize(("text", "mode"), [("0660", 0o660), ("660", 0o660), ("2770", 0o2770)])
def test_modes(text: str, mode: int) -> None:
    assert parse_mode(text) == mode


@pytest.mark.parametrize("text", ["", "9", "rw", "-1", "77777"])
def test_bad_modes(text: str) -> None:
    with pytest.raises(ValueError, match=r"octal|beyond"):
        parse_mode(text)


# -- hugepages ---------------------------------------------------------------


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    for kb, total, free, reserved in ((2048, 120, 100, 10), (1048576, 2, 1, 0)):
        pool = tmp_path / f"hugepages-{kb}kB"
        pool.mkdir()
        (pool / "nr_hugepages").write_text(f"{total}\n")
        (pool / "free_hugepages").write_text(f"{free}\n")
        (pool / "resv_hugepages").write_text(f"{reserved}\n")
    return tmp_path


def test_hugepages(pools: Path) -> None:
    assert hugepages.free_mb(pools) == 90 * 2 + 1024
    assert hugepages.total_mb(pools) == 120 * 2 + 2048


def test_a_kernel_without_hugepages(tmp_path: Path) -> None:
    assert hugepages.free_mb(tmp_path / "nowhere") == 0
    assert hugepages.total_mb(tmp_path / "nowhere") == 0


@pytest.mark.parametrize(("line", "found"), [("none /h hugetlbfs rw 0 0", True), ("", False)])
def test_mounted(tmp_path: Path, line: str, found: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\n{line}\n" if line else "")
    assert hugepages.mounted(mounts) is found


@pytest.mark.parametrize(
    ("choice", "free", "mounted", "used"),
    [
        ("auto", 256, True, True),
        ("auto", 255, True, False),
        ("auto", 256, False, False),
        ("on", 0, False, True),
        ("off", 9999, True, False),
    ],
)
def test_whether_hugepages_are_used(
    resolve, monkeypatch: pytest.MonkeyPatch, choice: str, free: int, mounted: bool, used: bool
) -> None:
    monkeypatch.setattr(hugepages, "free_mb", lambda: free)
    monkeypatch.setattr(hugepages, "mounted", lambda: mounted)
    assert resolve(f"[dpdk]\nhugepages = {choice}").options.hugepages is used


def test_a_bad_value_of_logging_is_found_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    path.write_text("[DEFAULT]\nmax_logfile_count = many\n")
    with pytest.raises(errors.ConfigError, match="max_logfile_count"):
        configure.load(["--config-file", str(path)])
