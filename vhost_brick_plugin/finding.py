# SPDX-License-Identifier: Apache-2.0
"""What a check has to say: shared by ``doctor`` and ``domain check``."""

from __future__ import annotations

import dataclasses
import enum


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well as it could, or not for ever."""
    FAIL = "fail"
    """It does not work."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check.

    :ivar check: the check's stable name, for scripts.
    :ivar text: what was seen.
    :ivar fix: what to do; empty only where all is well.
    """

    check: str
    level: Level
    text: str
    fix: str = ""

    def __post_init__(self) -> None:
        if self.level is not Level.OK and not self.fix:
            raise ValueError(f"{self.check}: a finding that is not ok needs a fix")


def ok(check: str, text: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(check=check, level=Level.OK, text=text)


def warn(check: str, text: str, fix: str) -> Finding:
    """Return the finding that something could be better."""
    return Finding(check=check, level=Level.WARN, text=text, fix=fix)


def fail(check: str, text: str, fix: str) -> Finding:
    """Return the finding that something does not work."""
    return Finding(check=check, level=Level.FAIL, text=text, fix=fix)
