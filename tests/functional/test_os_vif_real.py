# SPDX-License-Identifier: Apache-2.0
"""The real os-vif library loads the plugin by its entry points and calls a real daemon."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import os_vif
import pytest
from os_vif import exception, objects
from oslo_config import cfg

from tests.functional.daemon import Daemon
from vhost_brick_plugin import errors
from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.os_vif import VhostBrickPlugin

VIF_ID = "5c2f1a0e-8a0b-4b42-9d32-4d6d8f1f0a11"
OTHER_ID = "0d1c6a7e-3a0e-4a53-9f5b-0e0f5a9a2b11"
NETWORK_ID = "0f8d0d52-5a6c-45c2-9dcb-8f4ae4f1e5a7"
NAMES = ("vhost_brick", "vhostuser_fp")

os_vif.initialize()

INSTANCE = objects.instance_info.InstanceInfo(
    uuid="77c6c0f4-0d5b-4a52-8e55-cf4b0c1b3a6e", name="instance-00000001"
)


def configure(daemon: Daemon, timeout: float = 10.0) -> None:
    for name in NAMES:
        group = f"os_vif_{name}"
        cfg.CONF.set_override("api_socket", str(daemon.api_socket), group=group)
        cfg.CONF.set_override("state_dir", str(daemon.state_dir), group=group)
        cfg.CONF.set_override("timeout", timeout, group=group)
        cfg.CONF.set_override("qemu_client", "warn", group=group)


@pytest.fixture
def brickd(daemon: Daemon) -> Iterator[Daemon]:
    configure(daemon)
    yield daemon
    for name in NAMES:
        for option in VhostBrickPlugin.CONFIG_OPTS:
            cfg.CONF.clear_override(option.name, group=f"os_vif_{name}")


def make_vif(daemon: Daemon, plugin: str = "vhostuser_fp", **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "id": VIF_ID,
        "address": "fa:16:3e:00:00:01",
        "network": objects.network.Network(id=NETWORK_ID, mtu=1450),
        "plugin": plugin,
        "path": str(daemon.socket_path("vif")),
        "mode": "server",
        "vif_name": "nic5c2f1a0e-8a",
        "port_profile": objects.vif.VIFPortProfileFPBridge(bridge_name="br-fp"),
    }
    return objects.vif.VIFVHostUser(**(fields | changes))


def plugged(daemon: Daemon) -> list[PortStatus]:
    return list(daemon.client.port_list().ports)


def test_os_vif_describes_the_plugin() -> None:
    plugins = os_vif.host_info(["VIFVHostUser"]).plugin_info
    ours = [p for p in plugins if p.plugin_name == "vhost_brick"]
    assert len(ours) == len(NAMES), "one for each entry point"
    for plugin in ours:
        assert plugin.get_vif("VIFVHostUser").get_common_version()


@pytest.mark.parametrize("plugin", NAMES)
@pytest.mark.parametrize(("qemu", "ours"), [("server", "client"), ("client", "server")])
def test_plug_and_unplug_twice_each(brickd: Daemon, plugin: str, qemu: str, ours: str) -> None:
    vif = make_vif(brickd, plugin, mode=qemu)
    os_vif.plug(vif, INSTANCE)
    (first,) = plugged(brickd)
    port = first.port
    assert (port.id, port.network, port.mode) == (VIF_ID, NETWORK_ID, ours)
    assert (port.socket_path, port.mac, port.mtu) == (vif.path, "fa:16:3e:00:00:01", 1450)
    assert port.metadata["instance_name"] == "instance-00000001"
    assert brickd.socket_path("vif").is_socket() is (ours == "server")

    os_vif.plug(vif, INSTANCE)
    (second,) = plugged(brickd)
    assert (second.port, second.offer) == (first.port, first.offer)

    os_vif.unplug(vif, INSTANCE)
    assert plugged(brickd) == []
    assert brickd.client.network_list().networks == (), "the network goes with its last port"
    os_vif.unplug(vif, INSTANCE)
    assert plugged(brickd) == []


def test_plug_with_a_new_path_and_mode_is_an_update(brickd: Daemon) -> None:
    os_vif.plug(make_vif(brickd), INSTANCE)
    changed = make_vif(brickd, path=str(brickd.socket_path("other")), mode="client")
    os_vif.plug(changed, INSTANCE)
    (status,) = plugged(brickd)
    assert (status.port.socket_path, status.port.mode) == (changed.path, "server")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, f"is the MAC of port {VIF_ID}"),
        ({"address": "fa:16:3e:00:00:02", "path": "/nonexistent/s"}, "/nonexistent"),
    ],
)
def test_a_refusal_reaches_the_one_who_plugs(
    brickd: Daemon, changes: dict[str, Any], words: str
) -> None:
    os_vif.plug(make_vif(brickd), INSTANCE)
    other = make_vif(brickd, **({"path": str(brickd.socket_path("o"))} | changes), id=OTHER_ID)
    with pytest.raises(exception.PlugException, match=words) as caught:
        os_vif.plug(other, INSTANCE)
    assert isinstance(caught.value.kwargs["err"], errors.VhostBrickError)
    assert len(plugged(brickd)) == 1, "a failed plug leaves nothing behind"


def test_while_the_daemon_is_dead(brickd: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    vif = make_vif(brickd)
    os_vif.plug(vif, INSTANCE)
    brickd.kill9()
    configure(brickd, timeout=0.5)

    with caplog.at_level(logging.WARNING, logger="vhost_brick_plugin"):
        os_vif.plug(vif, INSTANCE)
    assert f"Port {VIF_ID} is not updated" in caplog.text
    with pytest.raises(exception.PlugException, match="cannot reach vhost-brickd"):
        os_vif.plug(make_vif(brickd, id=OTHER_ID), INSTANCE)
    with pytest.raises(exception.UnplugException, match="cannot reach vhost-brickd"):
        os_vif.unplug(vif, INSTANCE)
    os_vif.unplug(make_vif(brickd, id=OTHER_ID), INSTANCE)

    brickd.start()
    assert [status.port.id for status in plugged(brickd)] == [VIF_ID]
    os_vif.unplug(vif, INSTANCE)
    assert plugged(brickd) == []


def test_a_plug_during_a_restart_waits_for_it(brickd: Daemon) -> None:
    """nova-compute plugs a new port in the very moment in which the daemon is being restarted."""
    brickd.kill9()
    brickd.spawn()
    os_vif.plug(make_vif(brickd), INSTANCE)
    brickd.wait_ready()
    assert [status.port.id for status in plugged(brickd)] == [VIF_ID]
