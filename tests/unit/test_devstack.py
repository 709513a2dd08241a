# SPDX-License-Identifier: Apache-2.0
"""The DevStack plugin, with DevStack's functions played by a few lines of shell."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest

import vhost_brick_plugin
from vhost_brick_plugin.daemon import configure

DEVSTACK = Path(vhost_brick_plugin.__file__).parents[1] / "devstack"

STAGE = """
set -eu
root=$1; shift
NOVA_CONF=$root/nova.conf NOVA_CPU_CONF=$root/nova-cpu.conf NEUTRON_CONF=$root/neutron.conf
VHOST_BRICK_CONF=$root/vhost-brick.conf VHOST_BRICK_AGENT_CONF=$root/agent.ini
STACK_USER=$(id -un) DEST=/opt/stack VHOST_BRICK_DIR=$(dirname "$1")

said() { echo "$@" >> "$root/calls"; }
for name in install_package setup_develop run_process stop_process sudo; do
    eval "$name() { said $name \\"\\$@\\"; }"
done
iniset() { printf '[%s]\\n%s = %s\\n' "$2" "$3" "$4" >> "$1"; }
enable_service() { said enable "$@"; }
is_service_enabled() { true; }
get_python_exec_prefix() { echo /usr/local/bin; }

eval "$2"
source "$1/settings"
source "$1/plugin.sh" $3
"""


def run(root: Path, phase: str, local_conf: str = "") -> str:
    """Run a phase of the plugin, and return what it called of DevStack."""
    command = ["bash", "-c", STAGE, "bash", str(root), str(DEVSTACK), local_conf, phase]
    subprocess.run(command, check=True)
    return (root / "calls").read_text()


def ini(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(path)
    return parser


def test_it_is_installed_with_what_it_builds_with(tmp_path: Path) -> None:
    calls = run(tmp_path, "stack install").splitlines()
    assert f"setup_develop {DEVSTACK.parent}" in calls
    assert any(c.startswith("install_package") and "libdpdk-dev" in c for c in calls)
    assert not any("libcmocka-dev" in c for c in calls)


def test_the_daemon_takes_its_configuration(tmp_path: Path) -> None:
    run(tmp_path, "stack post-config", "VHOST_BRICK_NIC=phys0:net_af_packet0,iface=eth1")
    conf = configure.load(["--config-file", str(tmp_path / "vhost-brick.conf")])
    assert conf.vhost.socket_group in ("libvirt-qemu", "hugetlbfs")
    assert conf.dpdk.nic == ["phys0:net_af_packet0,iface=eth1"]


def test_by_default_servers_meet_ovs_on_a_trunk(tmp_path: Path) -> None:
    calls = run(tmp_path, "stack post-config")
    agent = ini(tmp_path / "agent.ini")
    assert agent["vhost_brick"]["uplink_mappings"] == "physnet1:tap:vbtrunk"
    assert "local_ip" not in agent["vhost_brick"]
    assert "--may-exist add-port br-physnet1 vbtrunk" in calls


def test_a_nic_leaves_ovs_out(tmp_path: Path) -> None:
    calls = run(
        tmp_path,
        "stack post-config",
        "VHOST_BRICK_UPLINK_MAPPINGS=physnet1:nic:phys0 VHOST_BRICK_LOCAL_IP=192.0.2.1",
    )
    assert ini(tmp_path / "agent.ini")["vhost_brick"]["local_ip"] == "192.0.2.1"
    assert "ovs-vsctl" not in calls


@pytest.mark.parametrize("file", ["nova.conf", "nova-cpu.conf"])
def test_guests_get_shared_memory(tmp_path: Path, file: str) -> None:
    run(tmp_path, "stack post-config")
    nova = ini(tmp_path / file)
    assert nova["libvirt"]["file_backed_memory"] == "8192"
    assert nova["DEFAULT"]["ram_allocation_ratio"] == "1.0"


def test_hugepages_are_left_to_the_flavors(tmp_path: Path) -> None:
    run(tmp_path, "stack post-config", "VHOST_BRICK_FILE_BACKED_MEMORY=0")
    assert not (tmp_path / "nova.conf").exists()


def test_both_services_start_and_stop(tmp_path: Path) -> None:
    calls = run(tmp_path, "stack post-config")
    assert "run_process vhost-brickd /usr/local/bin/vhost-brickd --config-file" in calls
    assert "run_process vhost-brick-agent /usr/local/bin/vhost-brick-neutron-agent" in calls
    calls = run(tmp_path, "unstack ")
    assert "stop_process vhost-brickd" in calls
