# SPDX-License-Identifier: Apache-2.0
"""A whole cloud: Neutron's server, one compute host, and Nova.

What :mod:`tests.neutron.stand` and :mod:`tests.nova.cloud` have, put together and set up
as doc/source/openstack.rst says.  Nova and Neutron reach each other as they do
everywhere, by HTTP and their own clients; without Keystone, they are told where the
other one is, and that it wants no token (``auth_type = none``).
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import chapter
from tests.functional.waiting import wait_until
from tests.neutron.process import Process
from tests.neutron.stand import Stand
from tests.neutron.wires import CONTROLLER
from tests.nova import nova_conf
from tests.nova.console import Console
from tests.openstack.cli import Cli
from tests.openstack.host import ChapterHost

ROOT = Path(__file__).parent.parent.parent

NOVA_PORT = 8774
START_TIMEOUT = 60.0
BOOT_TIMEOUT = 120.0
"""Seconds; a guest without KVM boots for ten, on a machine that has nothing else to do."""

NEUTRON_CONF = {
    "nova": {"auth_type": "none", "endpoint": f"http://{CONTROLLER}:{NOVA_PORT}/v2.1"},
}
"""Neutron tells Nova that a port is plugged, which a server waits for."""

NOVA_CONF = """
[neutron]
auth_type = none
endpoint = {url}

[api]
# As it is everywhere; for its tests Nova makes an error of it.  What everybody's project
# is called by a Neutron without Keystone is not what Nova calls an id.
response_validation = warn
"""


class OpenStack:
    """All of it, running while the ``with`` block does.

    :param directory: short, because sockets are in it, and QEMU's user can walk to it.
    :ivar host: the one compute host.
    :ivar nova_conf: the files that Nova reads.
    :ivar cli: the command ``openstack``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        ml2_conf = chapter.write_files(directory)["/etc/neutron/plugins/ml2/ml2_conf.ini"]
        self.stand = Stand(
            directory, hosts=1, make_host=ChapterHost, options=NEUTRON_CONF, files=[ml2_conf]
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> OpenStack:
        with contextlib.ExitStack() as stack:
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self, stack: contextlib.ExitStack) -> None:
        stack.enter_context(self.stand)
        self.host: ChapterHost = self.stand.hosts[0]
        self.host.libvirt.start()
        neutron = self.stand.api.url
        local = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        # Where Neutron's server can reach it:
        remote = stack.enter_context(
            self.stand.wires.controller.socket(socket.AF_INET, socket.SOCK_STREAM)
        )
        remote.bind((CONTROLLER, NOVA_PORT))
        remote.listen()
        self._nova_address = local.getsockname()
        self.nova = self._make_nova([local.fileno(), remote.fileno()], neutron)
        stack.callback(self.nova.kill9)
        self.nova.start()
        nova = "http://{}:{}".format(*self._nova_address)
        self.cli = Cli(self.directory, nova=nova, neutron=neutron)
        wait_until(self._nova_answers, "Nova's API", START_TIMEOUT)

    def _make_nova(self, fds: list[int], neutron: str) -> Process:
        host = self.host
        self.nova_conf = nova_conf.write(
            host.directory,
            host=host.name,
            uri=host.libvirt.uri,
            api_socket=host.api_socket,
            state_dir=host.state_dir,
            more=NOVA_CONF.format(url=neutron),
        )
        program = [sys.executable, "-m", "tests.openstack.nova_services"]
        return Process(
            "nova",
            [*program, ",".join(map(str, fds)), *map(str, self.nova_conf)],
            host.directory / "nova.log",
            {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.directory)},
            pass_fds=fds,
        )

    def _nova_answers(self) -> bool:
        self.nova.check()
        connection = http.client.HTTPConnection(*self._nova_address, timeout=1.0)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def wait_active(self, server: str) -> Any:
        """Wait until a server is active, and return it as the client shows it."""

        def settled() -> Any:
            shown = self.cli.show(f"openstack server show {server}")
            return shown if shown["status"] != "BUILD" else None

        shown = wait_until(settled, f"server {server}", BOOT_TIMEOUT)
        assert shown["status"] == "ACTIVE", shown.get("fault")
        return shown

    def give_address(self, server: str, address: str) -> None:
        """Give a server's first card the address that Neutron chose, as its user would.

        That is the work of Neutron's DHCP agent, on a network node, of which there is none.
        """
        with Console(self.host.domain(server)) as console:
            console.wait_guest(BOOT_TIMEOUT)
            console.shell(f"ip addr add {address}/24 dev eth0 && ip link set eth0 up")

    def logs(self) -> Iterator[tuple[str, str]]:
        """Yield the names and the ends of all logs."""
        return self.stand.logs()
