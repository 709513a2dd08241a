# SPDX-License-Identifier: Apache-2.0
"""The page of drop reasons, decisions and faults says what the code says."""

from __future__ import annotations

import pytest

from tools import reasons


def test_the_page_is_in_step() -> None:
    """If not: python tools/reasons.py."""
    assert reasons.PAGE.read_text() == reasons.page()


@pytest.mark.parametrize(
    ("header", "nameless"), [("drop.h", 0), ("decision.h", 1), ("fault.h", 1)]
)
def test_every_entry_is_found(header: str, nameless: int) -> None:
    """Faults and decisions begin with the one that is none."""
    listed = (reasons.CORE / header).read_text().count("\tX(")
    assert len(list(reasons.entries(header))) == listed - nameless
