# SPDX-License-Identifier: Apache-2.0
"""Neutron's server: its REST API and its RPC server, two processes as Neutron has them."""

from __future__ import annotations

import configparser
import http.client
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.functional.netns import NetNs
from tests.functional.waiting import wait_until
from tests.neutron.api import INTERVAL, Api
from tests.neutron.bus import CLIENTS
from tests.neutron.process import Process

START_TIMEOUT = 60.0
TABLES_TIMEOUT = 180.0
BIN = Path(sys.executable).parent

AGENT_DOWN_TIME = 600
"""Seconds: no agent shall look dead because its reports waited for the bus.  Tests that want
one dead say so, see ``Stand.age_heartbeat``."""

POLICY = """\
service_api: role:admin
"""
"""Without Keystone everybody is an administrator, and nobody has Nova's role, ``service``."""

Options = Mapping[str, Mapping[str, object]]


def write_config(path: Path, options: Options) -> None:
    """Write an oslo.config file."""
    parser = configparser.ConfigParser(interpolation=None, default_section="none")
    parser.read_dict({group: dict(pairs) for group, pairs in options.items()})
    with path.open("w") as file:
        parser.write(file)


class Server:
    """The server in a namespace, where the agents reach it over the bus.

    Its REST API listens on the loopback of the tests instead, on a socket that
    is made here and handed down, so that it is reached like any local server
    and keeps its port over restarts.

    :param options: beside what every Neutron server needs.
    :param files: are read before these.
    """

    def __init__(
        self,
        directory: Path,
        ns: NetNs,
        bus: str,
        database: str,
        options: Options,
        files: Sequence[Path] = (),
    ) -> None:
        directory.mkdir(parents=True)
        self.config = directory / "neutron.conf"
        policy = directory / "policy.yaml"
        policy.write_text(POLICY)
        common = {
            "DEFAULT": {
                "core_plugin": "ml2",
                "auth_strategy": "noauth",
                "transport_url": bus,
                "api_paste_config": BIN.parent / "etc/neutron/api-paste.ini",
                "state_path": directory,
                "rpc_workers": 1,
                "rpc_state_report_workers": 0,
                "agent_down_time": AGENT_DOWN_TIME,
                **CLIENTS["DEFAULT"],
            },
            "database": {"connection": database},
            "oslo_concurrency": {"lock_path": directory / "locks"},
            "oslo_messaging_rabbit": CLIENTS["oslo_messaging_rabbit"],
            "oslo_policy": {"policy_file": policy},
        }
        write_config(self.config, common | {g: common.get(g, {}) | o for g, o in options.items()})
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.api = Api(self._listener.getsockname()[1])
        fd = self._listener.fileno()
        env = {
            "OS_NEUTRON_CONFIG_DIR": str(directory),
            "OS_NEUTRON_CONFIG_FILES": ";".join(map(str, [*files, self.config])),
            "TMPDIR": str(directory),  # Neutron leaves notes of its start time there.
        }
        api = [*ns.exec, sys.executable, "-P", str(Path(__file__).with_name("wsgi.py")), str(fd)]
        rpc = [*ns.exec, str(BIN / "neutron-rpc-server")]
        self.processes = (
            Process("neutron-api", api, directory / "api.log", env, pass_fds=[fd]),
            Process("neutron-rpc-server", rpc, directory / "rpc.log", env),
        )

    def make_tables(self) -> None:
        """Bring the empty database to Neutron's present schema."""
        command = [str(BIN / "neutron-db-manage"), "--config-file", str(self.config)]
        subprocess.run(
            [*command, "upgrade", "heads"], check=True, capture_output=True, timeout=TABLES_TIMEOUT
        )

    def start(self) -> None:
        """Start it, without waiting: it takes seconds."""
        for process in self.processes:
            process.start()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        wait_until(self._answers, "neutron's REST API", START_TIMEOUT, INTERVAL)

    @property
    def running(self) -> bool:
        return all(process.running for process in self.processes)

    def kill9(self) -> None:
        for process in self.processes:
            process.kill9()

    def stop(self) -> None:
        """End it for good; by force, because it would wait for its peers first."""
        self.kill9()
        self._listener.close()

    def _answers(self) -> bool:
        for process in self.processes:
            process.check()
        try:
            self.api.list("network")
        except (OSError, http.client.HTTPException):
            return False
        return True
