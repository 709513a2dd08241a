# SPDX-License-Identifier: Apache-2.0
"""Names of virtio feature bits, as a network card has them (virtio 1.1, sections 5.1.3 and 6)."""

from __future__ import annotations

NAMES = {
    0: "CSUM",
    1: "GUEST_CSUM",
    3: "MTU",
    5: "MAC",
    7: "GUEST_TSO4",
    8: "GUEST_TSO6",
    9: "GUEST_ECN",
    10: "GUEST_UFO",
    11: "HOST_TSO4",
    12: "HOST_TSO6",
    13: "HOST_ECN",
    14: "HOST_UFO",
    15: "MRG_RXBUF",
    16: "STATUS",
    17: "CTRL_VQ",
    18: "CTRL_RX",
    19: "CTRL_VLAN",
    21: "GUEST_ANNOUNCE",
    22: "MQ",
    23: "CTRL_MAC_ADDR",
    26: "LOG_ALL",
    27: "ANY_LAYOUT",
    28: "INDIRECT_DESC",
    29: "EVENT_IDX",
    30: "PROTOCOL_FEATURES",
    32: "VERSION_1",
    33: "ACCESS_PLATFORM",
    34: "RING_PACKED",
    35: "IN_ORDER",
}

OFFLOADS = sum(
    1 << bit
    for bit, name in NAMES.items()
    if name.removeprefix("GUEST_") == "CSUM" or "_TSO" in name or "_ECN" in name or "_UFO" in name
)
"""Checksums and segmentation, in both directions."""


def names(mask: int) -> list[str]:
    """Return the names of the bits in *mask*, from the lowest on."""
    return [NAMES.get(bit, f"bit {bit}") for bit in range(mask.bit_length()) if mask >> bit & 1]
