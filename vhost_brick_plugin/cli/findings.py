# SPDX-License-Identifier: Apache-2.0
"""How commands that check things show what they found."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from vhost_brick_plugin.cli import base
from vhost_brick_plugin.finding import Finding, Level

COLUMNS = ("check", "result", "finding", "fix")


class FindingsLister(base.Lister):
    """Lists findings; the exit status says whether one of them is a failure."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--json",
            dest="formatter",
            action="store_const",
            const="json",
            help="the same as -f json, for scripts",
        )
        base.fit_terminal(parser)
        return parser

    def show(self, findings: Iterable[Finding]) -> Any:
        """Return what ``take_action`` returns for *findings*."""
        rows = [(f.check, f.level.value, f.text, f.fix) for f in findings]
        if any(result == Level.FAIL for _, result, _, _ in rows):
            self.exit_status = base.EXIT_FAILED
        return COLUMNS, rows
