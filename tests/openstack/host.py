# SPDX-License-Identifier: Apache-2.0
"""A compute host that was set up as doc/source/openstack.rst says, nova-compute aside.

The chapter's commands run with the chapter's files.  After each of them they read
another one that says where on this machine things are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import chapter
from tests.functional.netns import NetNs
from tests.neutron.process import Process
from tests.neutron.server import BIN, Options, write_config
from tools.lab.brickd import Brickd
from tools.lab.lab import PrivateLibvirt
from vhost_brick_plugin.api.client import Client

CONFIG_FILE = "--config-file"
TIMEOUT = 60.0


class ChapterHost:
    """One host; the arguments are those of :class:`tests.neutron.host.Host`.

    :ivar daemon: under its supervisor.
    :ivar libvirt: to be started by whoever wants guests.
    :ivar api_socket: the daemon's.
    """

    def __init__(self, name: str, directory: Path, ns: NetNs, bus: str, address: str) -> None:
        self.name = name
        self.ns = ns
        self.directory = directory
        self.state_dir = directory / "state"
        self.socket_dir = directory / "s"
        self.api_socket = directory / "api"
        directory.mkdir()
        self._written = chapter.write_files(directory)
        self._add_machine(bus)
        self.daemon = Brickd(self._service("vhost-brickd"), directory)
        agent = self._service("vhost-brick-neutron-agent")
        self.agent = Process(f"agent of {name}", agent, directory / "agent.log")
        self.libvirt = PrivateLibvirt(directory / "vm", dynamic_ownership=True)

    def _add_machine(self, bus: str) -> None:
        """Say where on this machine things are.  The groups of the chapter are not there."""
        self._machine: dict[str, Path] = {}
        self._add_file(
            "/etc/vhost-brick/vhost-brick.conf",
            {
                "daemon": {
                    "state_dir": self.state_dir,
                    "api_socket": self.api_socket,
                    "api_socket_group": "root",
                },
                "vhost": {"socket_dir": self.socket_dir},
            },
        )
        self._add_file(
            "/etc/neutron/neutron.conf",
            {
                "DEFAULT": {
                    "host": self.name,
                    "transport_url": bus,
                    "state_path": self.directory,
                },
                "oslo_concurrency": {"lock_path": self.directory / "locks"},
            },
        )
        self._add_file(
            "/etc/neutron/plugins/ml2/vhost_brick_agent.ini",
            {"vhost_brick": {"api_socket": self.api_socket}},
        )

    def _add_file(self, path: str, options: Options) -> None:
        self._machine[path] = self.directory / f"machine-{Path(path).name}"
        write_config(self._machine[path], options)

    def _service(self, start: str) -> list[str]:
        """Return the chapter's command that starts so, as it has to be on this machine."""
        program, *words = shlex.split(chapter.command(start))
        return [*self.ns.exec, str(BIN / program), *self._here(words)]

    def _here(self, words: list[str]) -> list[str]:
        found = []
        for option, path in zip(words[::2], words[1::2], strict=True):
            assert option == CONFIG_FILE, words
            files = [files[path] for files in (self._written, self._machine) if path in files]
            found += [word for file in files for word in (CONFIG_FILE, str(file))]
        return found

    def run(self, command: str) -> str:
        """Run a command line, which starts with "vhost-brick"; return what it prints.

        Its exit status is none of our business: ``doctor`` finds this machine's own faults.
        """
        program, *words = shlex.split(command)
        done = subprocess.run(
            [str(BIN / program), "--api-socket", str(self.api_socket), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=os.environ | {"LIBVIRT_DEFAULT_URI": self.libvirt.uri},
        )
        assert not done.stderr, f"{command}: {done.stderr}"
        return done.stdout

    def show(self, command: str) -> Any:
        """Likewise; return what it shows, read from JSON."""
        return json.loads(self.run(f"{command} -f json"))

    @contextlib.contextmanager
    def mapping(self, physical: str, device: str) -> Iterator[None]:
        """Have the agent map a physical network to something else while the block runs.

        :param device: as in ``uplink_mappings``.
        """
        path = self.directory / "mapping.ini"
        write_config(path, {"vhost_brick": {"uplink_mappings": f"{physical}:{device}"}})
        command = self.agent.command
        self._restart_agent([*command, CONFIG_FILE, str(path)])
        yield
        self._restart_agent(command)

    def _restart_agent(self, command: list[str]) -> None:
        self.agent.kill9()
        self.agent.command = command
        self.agent.start()

    @property
    def client(self) -> Client:
        return Client(str(self.api_socket))

    def domain(self, server: str) -> Any:
        """Return the ``libvirt.virDomain`` of a server, by its id."""
        return self.libvirt.connection.lookupByUUIDString(server)

    def stop(self) -> None:
        """End it for good, the agent by force, because it takes its time for goodbyes."""
        self.libvirt.stop()
        self.agent.kill9()
        self.daemon.stop()
