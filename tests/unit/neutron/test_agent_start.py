# SPDX-License-Identifier: Apache-2.0
"""The agent's start: what it checks, and what it says."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from neutron.common import config as common_config
from neutron.conf.agent import securitygroups_rpc as sg_conf
from oslo_config import cfg

from tests.unit import stub_daemon
from tests.unit.stub_daemon import StubDaemon
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.neutron import agent, conf

GOOD = "uplink_mappings = phys0:nic:nic0\nlocal_ip = 127.0.0.1\n"


@pytest.fixture(scope="module")
def registered() -> cfg.ConfigOpts:
    common_config.register_common_config_options()
    sg_conf.register_securitygroups_opts()
    conf.register(cfg.CONF)
    return cfg.CONF


class Start:
    """Builds agents from the text of their configuration."""

    def __init__(self, config: cfg.ConfigOpts, directory: Path) -> None:
        self.socket = directory / "api"
        self.path = directory / "agent.conf"
        self._config = config

    def write(self, text: str, more: str = "") -> None:
        self.path.write_text(f"[vhost_brick]\napi_socket = {self.socket}\n{text}{more}")

    def read(self) -> None:
        self._config(["--config-file", str(self.path)], project="neutron")

    def daemon(self, socket_dir: str = "/run/s") -> StubDaemon:
        hello = stub_daemon.hello(datapath_info={"nics": "nic0, nic1"})
        dump = methods.ConfigResult(options={"vhost.socket_dir": socket_dir}, files=())
        return StubDaemon(self.socket, {methods.Hello: hello, methods.ConfigDump: dump})

    def build(self, text: str = GOOD, more: str = "", socket_dir: str = "/run/s") -> object:
        self.write(text, more)
        self.read()
        with self.daemon(socket_dir):
            return agent.build(self._config)


@pytest.fixture
def start(registered: cfg.ConfigOpts, short_dir: Path):
    yield Start(registered, short_dir)
    registered.reset()


def test_a_good_configuration(start: Start) -> None:
    loop = start.build()
    assert loop.agent_type == "VHost Brick agent"
    assert loop.mgr.wiring.has_tunnels


@pytest.mark.parametrize("driver", ["", "noop", "neutron.agent.firewall.NoopFirewallDriver"])
def test_firewalls_that_do_nothing(start: Start, driver: str) -> None:
    start.build(more=f"[securitygroup]\nfirewall_driver = {driver}\n")


BAD = {
    "mapping": ({"text": "uplink_mappings = phys0\n"}, "cannot read 'phys0'"),
    "NIC": ({"text": "uplink_mappings = phys0:nic:nic7\n"}, r"'nic7'.*nic0, nic1"),
    "address": ({"text": "local_ip = here\n"}, "'here' is not an IP address"),
    "address of another host": ({"text": "local_ip = 203.0.113.9\n"}, "not an address of this"),
    "firewall": ({"more": "[securitygroup]\nfirewall_driver = openvswitch\n"}, "cannot filter"),
    "socket_dir": ({"socket_dir": "/run/" + 70 * "x"}, "socket_dir"),
}


@pytest.mark.parametrize(("given", "said"), BAD.values(), ids=BAD)
def test_a_bad_configuration(start: Start, given: dict[str, str], said: str) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        start.build(**given)


def test_it_waits_for_the_daemon(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(agent, "WAIT_S", 0.01)
    tried, built = threading.Semaphore(0), []
    call = agent.Client.call

    def count(client: object, request: methods.Method[object]) -> object:
        tried.release()
        return call(client, request)

    monkeypatch.setattr(agent.Client, "call", count)
    start.write(GOOD)
    start.read()
    thread = threading.Thread(target=lambda: built.append(agent.build(cfg.CONF)))
    thread.start()
    for _ in range(3):
        assert tried.acquire(timeout=10)
    with start.daemon():
        thread.join(10)
    assert built
    assert caplog.text.count("Waiting for vhost-brickd") == 1


def test_the_command_says_what_is_wrong(start: Start) -> None:
    start.write("local_ip = here\n", "[DEFAULT]\ntransport_url = fake:/\n")
    command = [
        sys.executable,
        "-c",
        "from vhost_brick_plugin.neutron.agent import main; main()",
        "--config-file",
        str(start.path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "[vhost_brick] local_ip: 'here' is not an IP address" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
