# SPDX-License-Identifier: Apache-2.0
"""The reference of the control API says what its declaration says."""

from __future__ import annotations

from tools import rpc_reference
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods


def test_the_page_is_in_step() -> None:
    """If not: python tools/rpc_reference.py."""
    assert rpc_reference.PAGE.read_text() == rpc_reference.page()


def test_everything_has_its_place() -> None:
    page = rpc_reference.page()
    for name, method in methods.METHODS.items():
        assert f"\n{name}\n{'~' * len(name)}\n" in page
        result = method.result.__name__
        assert f"\nReturns `{result}`_.\n" in page
        assert f"\n{result}\n{'~' * len(result)}\n" in page
    for slug in errors.BY_SLUG:
        assert f"\n``{slug}`` (" in page
