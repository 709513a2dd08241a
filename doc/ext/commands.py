# SPDX-License-Identifier: Apache-2.0
"""The directive ``vhost-brick-commands``: all commands, as their parsers describe them.

Cliff's own ``autoprogram-cliff`` finds commands by entry points, where ours are a table
(``vhost_brick_plugin/cli/main.py``), and shows help as it was written, with
``%(default)s`` in it.
"""

from __future__ import annotations

import argparse
from typing import Any

from cliff.command import Command
from cliff.sphinxext import AutoprogramCliffDirective
from sphinx.application import Sphinx

from vhost_brick_plugin.cli.main import Commands


class CommandsDirective(AutoprogramCliffDirective):  # type: ignore[misc]
    """Takes the application's class, for its options, or any other word, for its commands."""

    def _drop_ignored_options(self, parser: argparse.ArgumentParser, ignored: list[str]) -> None:
        super()._drop_ignored_options(parser, ignored)
        # Every parser comes by here before it is shown.
        for action in parser._actions:
            if action.help and "%(default)" in action.help:
                action.help %= {**vars(action), "prog": parser.prog}

    def _load_commands(self) -> dict[str, type[Command]]:
        manager = Commands()
        return {name: self._load_command(manager, name) for name in sorted(manager.commands)}


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("vhost-brick-commands", CommandsDirective)
    return {"parallel_read_safe": True}
