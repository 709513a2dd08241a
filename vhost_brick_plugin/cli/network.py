# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick network``: the switches that ports are on."""

from __future__ import annotations

import argparse
import functools
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import base, words
from vhost_brick_plugin.cli.columns import Maybe, Pairs, Uplinks, Words
from vhost_brick_plugin.codec import to_json
from vhost_brick_plugin.model import VXLAN_PORT, UplinkKind

LIST_COLUMNS = ("name", "mtu", "ports", "uplinks", "guarded", "macs_learned", "fault")


class Create(base.ShowOne):
    """Create a network, or change one to be as described here."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("network", metavar="NAME", help="the network's name")
        parser.add_argument(
            "--mtu", type=int, metavar="N", default=1500, help="bytes (default: %(default)s)"
        )
        parser.add_argument(
            "--tap",
            type=functools.partial(words.interface, UplinkKind.TAP),
            metavar="IFNAME[:VLAN]",
            action="append",
            default=[],
            help="join the host to the network by this interface, made if it is missing; with a "
            "VLAN by its frames of that VLAN, or the untagged ones (0), and other networks may "
            "share it; repeat for more",
        )
        parser.add_argument(
            "--nic",
            type=functools.partial(words.interface, UplinkKind.NIC),
            metavar="NAME[:VLAN]",
            action="append",
            default=[],
            help="join the network to a NIC that [dpdk] nic names; VLAN as above; repeat for more",
        )
        parser.add_argument(
            "--vxlan",
            type=words.tunnel,
            metavar=words.TUNNEL_FORM,
            action="append",
            default=[],
            help="join it to the same network on other hosts; repeat for more (default port: "
            f"{VXLAN_PORT}, default name: vxlan-VNI)",
        )
        parser.add_argument(
            "--guarded",
            action="store_true",
            help="ports whose security nobody has set pass nothing",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        request = methods.NetworkEnsure(
            network=parsed_args.network,
            mtu=parsed_args.mtu,
            uplinks=(*parsed_args.tap, *parsed_args.nic, *parsed_args.vxlan),
            guarded=parsed_args.guarded,
        )
        return base.fields(_details(self.client.call(request)))


class Delete(base.Command):
    """Delete networks; one that does not exist counts as deleted."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("networks", metavar="NAME", nargs="+", help="a network's name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        for network in parsed_args.networks:
            self.client.call(methods.NetworkRemove(network=network))


class List(base.Lister):
    """List networks."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        answer = self.client.call(methods.NetworkListCall())
        rows = [
            {
                **_details(n),
                "ports": len(n.ports),
                "uplinks": Words([words.interface_text(u) for u in to_json(n.network.uplinks)]),
            }
            for n in answer.networks
        ]
        return base.table(rows, LIST_COLUMNS)


class Show(base.ShowOne):
    """Show everything about a network."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("network", metavar="NAME", help="the network's name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        name = parsed_args.network
        for status in self.client.call(methods.NetworkListCall()).networks:
            if status.network.name == name:
                return base.fields(_details(status))
        raise errors.NetworkNotFound(f"there is no network {name!r}")


def _details(status: methods.NetworkStatus) -> dict[str, Any]:
    network, fault = status.network, status.fault
    return {
        "name": network.name,
        "mtu": network.mtu,
        "implicit": network.implicit,
        "guarded": network.guarded,
        "uplinks": Uplinks(to_json(network.uplinks)),
        "ports": Words(list(status.ports)),
        "macs_learned": status.macs_learned,
        "drops": Pairs(dict(status.drops)),
        "fault": Maybe(fault.name if fault else None),
        "fault_message": Maybe(fault.message if fault else None),
        "fault_hint": Maybe(fault.hint if fault else None),
    }
