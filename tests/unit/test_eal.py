# SPDX-License-Identifier: Apache-2.0
"""What DPDK is started with."""

from __future__ import annotations

from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.datapath.eal import NO_CARD, eal_args


def test_the_pci_bus_is_looked_at_for_nics_alone() -> None:
    def looked_at(*devices: str) -> list[str]:
        nics = {f"phys{i}": device for i, device in enumerate(devices)}
        args = eal_args(Options(nics=nics))
        return [word for word in args if word in ("-a", "--no-pci", *devices)]

    assert looked_at() == looked_at("net_ring0") == ["--no-pci"]
    assert looked_at("net_ring0", "81:00.1,a=b", "0000:81:00.0") == [
        *("-a", "81:00.1,a=b"),
        *("-a", "0000:81:00.0"),
    ]


def test_a_standby_leaves_the_cards_to_the_one_that_serves() -> None:
    cards = {"phys0": "0000:81:00.0", "phys1": "81:00.1,a=b"}
    args = eal_args(Options(nics=cards, standby=True))
    assert not set(cards.values()) & set(args)
    # Nor does it look at all, or it would find them.
    assert args[args.index("-a") + 1] == NO_CARD
    assert args.count("-a") == 1
    assert "--no-pci" in eal_args(Options(standby=True))
