# SPDX-License-Identifier: Apache-2.0
"""How commands that check things show what they found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vhost_brick_plugin.cli import base
from vhost_brick_plugin.finding import Finding, Level

COLUMNS = ("check", "result", "finding", "fix")


class FindingsLister(base.Lister):
    """Lists findings; the exit status says whether one of them is a failure."""

    def show(self, findings: Iterable[Finding]) -> Any:
        """Return what ``take_action`` returns for *findings*."""
        rows = [(f.check, f.level.value, f.text, f.fix) for f in findings]
        if any(result == Level.FAIL for _, result, _, _ in rows):
            self.exit_status = base.EXIT_FAILED
        return COLUMNS, rows
