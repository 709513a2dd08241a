# SPDX-License-Identifier: Apache-2.0
"""Drop reasons, decisions and faults have the same names in the docs and in what is running."""

from __future__ import annotations

import pytest

from tools import reasons
from vhost_brick_plugin.daemon import events

dpdk_c = pytest.importorskip("vhost_brick_plugin.datapath.dpdk_c")


def _documented(header: str) -> list[str]:
    return [name for name, *_ in reasons.entries(header)]


def test_drops() -> None:
    assert _documented("drop.h") == dpdk_c.DROPS


def test_decisions() -> None:
    assert ["", *_documented("decision.h")] == dpdk_c.DECISIONS


def test_faults() -> None:
    assert ["", *_documented("fault.h")] == dpdk_c.FAULTS
    assert events.INTERFACE_GONE in dpdk_c.FAULTS
