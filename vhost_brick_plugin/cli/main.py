# SPDX-License-Identifier: Apache-2.0
"""The ``vhost-brick`` command.

Commands are named here and imported when they are called, so that each starts
as fast as it can and none needs what another one imports (lxml, libvirt).
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

from cliff.app import App
from cliff.command import Command
from cliff.commandmanager import CommandManager

from vhost_brick_plugin.api import options
from vhost_brick_plugin.version import version

_PACKAGE = "vhost_brick_plugin.cli"

COMMANDS = {
    "capture": "capture:Capture",
    "complete": "completion:Complete",
    "doctor": "doctor:Doctor",
    "domain attach": "domain:Attach",
    "domain check": "domain:Check",
    "domain define": "domain:Define",
    "domain detach": "domain:Detach",
    "domain interface-xml": "domain:InterfaceXml",
    "domain reconcile": "domain:Reconcile",
    "graph": "graph:Graph",
    "handover": "handover:Handover",
    "network create": "network:Create",
    "network delete": "network:Delete",
    "network list": "network:List",
    "network show": "network:Show",
    "port create": "port:Create",
    "port delete": "port:Delete",
    "port list": "port:List",
    "port show": "port:Show",
    "port stats": "port:Stats",
    "status": "status:Status",
    "top": "top:Top",
    "trace": "trace:Trace",
    "watch": "watch:Watch",
}


class Commands(CommandManager):
    """The table above instead of a search through all installed packages."""

    def __init__(self) -> None:
        super().__init__(namespace=None, convert_underscores=False)
        for name, where in COMMANDS.items():
            self.commands[name] = EntryPoint(name, f"{_PACKAGE}.{where}", _PACKAGE)

    def add_command(self, name: str, command_class: type[Command]) -> None:
        """Add one of cliff's own, which does not take the place of ours."""
        if name not in self.commands:
            super().add_command(name, command_class)


class VhostBrick(App):
    """Options before the command, and what happens without one."""

    NAME = "vhost-brick"

    def __init__(self) -> None:
        super().__init__(
            description="Look after vhost-brickd: its networks, ports and the VMs on them.",
            version=version(),
            command_manager=Commands(),
            deferred_help=True,  # "vhost-brick port create --help" is about port create.
        )

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        """Return the parser of the options before the command."""
        kwargs = {"prog": self.NAME, **(argparse_kwargs or {})}
        parser = super().build_option_parser(description, version, kwargs)
        options.add(parser)
        return parser

    def run(self, argv: list[str]) -> int:
        """Run the command in *argv* and return the exit status."""
        _, command = self.parser.parse_known_args(argv)
        # Without a command, cliff would open a shell of its own.
        return super().run(argv if command else ["help"])

    def get_fuzzy_matches(self, cmd: str) -> list[str]:
        """Return what somebody may have meant who wrote *cmd* as first word."""
        groups = {name.partition(" ")[0] for name in COMMANDS}
        near = set(difflib.get_close_matches(cmd, groups))
        return [name for name in COMMANDS if name.partition(" ")[0] in near]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line *argv*, sys.argv's by default; return the exit status."""
    return VhostBrick().run(list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
