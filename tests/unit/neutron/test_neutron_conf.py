# SPDX-License-Identifier: Apache-2.0
"""The agent's options and their sample."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg, generator

import vhost_brick_plugin
from vhost_brick_plugin.neutron import conf

ETC = Path(vhost_brick_plugin.__file__).parents[1] / "etc" / "vhost-brick"
SAMPLE = ETC / "neutron-agent.conf.sample"


def load(path: Path) -> cfg.ConfigOpts:
    config = cfg.ConfigOpts()
    conf.register(config)
    config(["--config-file", str(path)], project="test")
    return config


def test_options(tmp_path: Path) -> None:
    path = tmp_path / "agent.conf"
    path.write_text("[vhost_brick]\nuplink_mappings = a:nic:x, b:tap:y\nlocal_ip = 192.0.2.1\n")
    group = load(path).vhost_brick
    assert group.uplink_mappings == ["a:nic:x", "b:tap:y"]
    assert (group.local_ip, group.vxlan_udp_port) == ("192.0.2.1", 4789)


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_a_bad_udp_port(tmp_path: Path, port: str) -> None:
    path = tmp_path / "agent.conf"
    path.write_text(f"[vhost_brick]\nvxlan_udp_port = {port}\n")
    with pytest.raises(cfg.ConfigFileValueError, match="vxlan_udp_port"):
        _ = load(path).vhost_brick.vxlan_udp_port


def test_the_sample_is_in_step(tmp_path: Path) -> None:
    made = tmp_path / "sample"
    config = str(ETC / "neutron-agent-config-generator.conf")
    generator.main(["--config-file", config, "--output-file", str(made)])
    assert made.read_text() == SAMPLE.read_text()


def test_the_sample_is_a_config_file() -> None:
    assert load(SAMPLE).vhost_brick.uplink_mappings == []
