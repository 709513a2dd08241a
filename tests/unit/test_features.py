# SPDX-License-Identifier: Apache-2.0
"""Feature bits by name."""

from __future__ import annotations

from vhost_brick_plugin import features


def test_names() -> None:
    assert features.names(1 << 15 | 1 << 32) == ["MRG_RXBUF", "VERSION_1"]
    assert features.names(1 << 60) == ["bit 60"]
    assert features.names(0) == []
