# SPDX-License-Identifier: Apache-2.0
"""Feature bits by name."""

from __future__ import annotations

from vhost_brick_plugin import features


def test_names() -> None:
    assert features.names(1 << 15 | 1 << 32) == ["MRG_RXBUF", "VERSION_1"]
    assert features.names(1 << 60) == ["bit 60"]
    assert features.names(0) == []


def test_offloads() -> None:
    named = features.names(features.OFFLOADS)
    assert named == [
        *("CSUM", "GUEST_CSUM", "GUEST_TSO4", "GUEST_TSO6", "GUEST_ECN", "GUEST_UFO"),
        *("HOST_TSO4", "HOST_TSO6", "HOST_ECN", "HOST_UFO"),
    ]
