# SPDX-License-Identifier: Apache-2.0
"""The names of drop reasons and faults are the same in the docs and in what is running."""

from __future__ import annotations

import pytest

from tools import reasons
from vhost_brick_plugin.daemon import events

dpdk_c = pytest.importorskip("vhost_brick_plugin.datapath.dpdk_c")


def _documented(header: str) -> list[str]:
    return [name for name, *_ in reasons.entries(header)]


def test_drops() -> None:
    assert _documented("drop.h") == dpdk_c.DROPS


def test_faults() -> None:
    assert ["", *_documented("fault.h")] == dpdk_c.FAULTS
    assert events.INTERFACE_GONE in dpdk_c.FAULTS
