# SPDX-License-Identifier: Apache-2.0
"""The command ``openstack``, with a cloud that asks for no identity."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from tests.neutron.server import BIN

TIMEOUT = 60.0

PROJECT = "fake_project_id"
"""Everybody's project: what Neutron without Keystone takes for it if a request names none."""

CLOUDS = """
clouds:
  stand:
    auth_type: none
    auth:
      endpoint: {nova}
    compute_endpoint_override: {nova}/v2.1
    network_endpoint_override: {neutron}
    image_endpoint_override: {nova}/image/v2
    identity_api_version: "3"
    compute_default_microversion: "2.90"
"""


class CommandFailed(Exception):
    """A command ended with an error; the message has all that it said."""


class Cli:
    """Runs commands.

    :param directory: gets ``clouds.yaml``.
    :param nova: the URL of Nova's API; :param neutron: and of Neutron's.
    """

    def __init__(self, directory: Path, *, nova: str, neutron: str) -> None:
        clouds = directory / "clouds.yaml"
        clouds.write_text(CLOUDS.format(nova=nova, neutron=neutron))
        self._env = os.environ | {"OS_CLIENT_CONFIG_FILE": str(clouds), "OS_CLOUD": "stand"}

    def run(self, command: str) -> str:
        """Run a command line, which starts with "openstack"; return what it prints."""
        program, *words = shlex.split(command)
        done = subprocess.run(
            [str(BIN / program), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=self._env,
        )
        if done.returncode != 0:
            raise CommandFailed(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def show(self, command: str) -> Any:
        """Likewise; return what it shows, read from JSON."""
        return json.loads(self.run(f"{command} -f json"))
