# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick doctor``: is this host fit for its job, and if not, why."""

from __future__ import annotations

import argparse
import os
from typing import Any

from vhost_brick_plugin.cli.findings import FindingsLister
from vhost_brick_plugin.doctor import examine, nova_conf, site

DEFAULT_CONFIG_FILE = "/etc/vhost-brick/vhost-brick.conf"


class Doctor(FindingsLister):
    """Check this host, and say the fix for everything that is not well.

    The exit status is 1 if a check failed: something does not work that is installed or
    configured here.  Warnings do not count.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--config-file",
            metavar="FILE",
            action="append",
            help="the daemon's configuration, read if the daemon does not answer (default: "
            f"{DEFAULT_CONFIG_FILE})",
        )
        parser.add_argument(
            "--nova-config-file",
            metavar="FILE",
            action="append",
            help="nova-compute's configuration (default: which there are of "
            f"{', '.join(nova_conf.DEFAULT_FILES)})",
        )
        parser.add_argument(
            "--connect", metavar="URI", help="libvirt daemon (default: as virsh would take)"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        files = _given_or_there(parsed_args.config_file, DEFAULT_CONFIG_FILE)
        nova_files = _given_or_there(parsed_args.nova_config_file, *nova_conf.DEFAULT_FILES)
        found = site.survey(self.client, files)
        return self.show(examine(found, parsed_args.connect, nova_files))


def _given_or_there(given: list[str] | None, *defaults: str) -> list[str]:
    return given if given is not None else [path for path in defaults if os.path.exists(path)]
