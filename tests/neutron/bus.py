# SPDX-License-Identifier: Apache-2.0
"""The message bus: a RabbitMQ in a network namespace."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tests.functional.netns import NetNs
from tests.functional.waiting import wait_until
from tests.neutron.process import Process

PORT = 5672
START_TIMEOUT = 60.0
INTERVAL = 0.1

CONFIG = f"""\
listeners.tcp.1 = 0.0.0.0:{PORT}
loopback_users = none
"""

CLIENTS = {
    "DEFAULT": {"rpc_response_timeout": 10},
    "oslo_messaging_rabbit": {"rabbit_interval_max": 5},
}
"""Options of all who use the bus.  An answer that died with it is waited for in vain, by
default for a minute, and tries to reconnect grow apart to half a minute: long for a test."""

ERLANG = (
    "-kernel inet_dist_use_interface {127,0,0,1}",  # Nobody else's node talks to ours.
    "-start_epmd false",  # It would stay behind: we run one ourselves.
    "+S 1:1",
    "-noinput",
)


class Bus:
    """RabbitMQ as Debian has it, but without systemd, its user and its directories.

    :param address: the namespace's, where clients find it.
    """

    def __init__(self, directory: Path, ns: NetNs, address: str) -> None:
        self.url = f"rabbit://guest:guest@{address}:{PORT}/"
        self._ns = ns
        (directory / "home").mkdir(parents=True)
        (directory / "rabbitmq.conf").write_text(CONFIG)
        (directory / "plugins").write_text("[].\n")
        epmd = [*ns.exec, "epmd", "-address", "127.0.0.1"]
        self.epmd = Process("epmd", epmd, directory / "epmd.log")
        self.rabbit = Process(
            "rabbitmq",
            [*ns.exec, "/usr/lib/rabbitmq/bin/rabbitmq-server"],
            directory / "rabbitmq.log",
            env={
                "HOME": str(directory / "home"),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_ALLOW_INPUT": "1",  # The script becomes the broker: one process less.
                "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
                "RABBITMQ_LOG_BASE": str(directory / "log"),
                "RABBITMQ_LOGS": "-",
                "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
                "RABBITMQ_NODENAME": "rabbit@localhost",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(ERLANG),
            },
        )

    def start(self) -> None:
        """Start it, without waiting: it takes seconds."""
        if not self.epmd.running:
            self.epmd.start()
        self.rabbit.start()

    def wait_ready(self) -> None:
        """Wait until it takes connections."""
        wait_until(self._answers, "the message bus", START_TIMEOUT, INTERVAL)

    @property
    def running(self) -> bool:
        return self.rabbit.running

    def kill9(self) -> None:
        self.rabbit.kill9()

    def stop(self) -> None:
        self.rabbit.stop()
        self.epmd.stop()

    def _answers(self) -> bool:
        self.rabbit.check()
        with (
            contextlib.suppress(ConnectionRefusedError),
            self._ns.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
        ):
            client.connect(("127.0.0.1", PORT))
            return True
        return False
