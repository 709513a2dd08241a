# SPDX-License-Identifier: Apache-2.0
"""The page of drop reasons and faults says what the code says."""

from __future__ import annotations

from tools import reasons


def test_the_page_is_in_step() -> None:
    """If not: python tools/reasons.py."""
    assert reasons.PAGE.read_text() == reasons.page()


def test_every_entry_is_found() -> None:
    for header in ("drop.h", "fault.h"):
        listed = (reasons.CORE / header).read_text().count("\tX(")
        # The fault that is none has no name.
        assert len(list(reasons.entries(header))) == listed - (header == "fault.h")
