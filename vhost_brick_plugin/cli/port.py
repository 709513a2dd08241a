# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick port``: vhost-user sockets and their traffic."""

from __future__ import annotations

import argparse
from typing import Any

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import base, words
from vhost_brick_plugin.cli.columns import AddressPairs, Bits, Life, Maybe, Pairs, Sessions
from vhost_brick_plugin.codec import to_json
from vhost_brick_plugin.model import Mode, PortSecurity, SecurityMode
from vhost_brick_plugin.report import Counters

LIST_COLUMNS = (
    "id",
    "network",
    "mode",
    "state",
    "sessions",
    "security",
    "mac",
    "socket_path",
    "fault",
)


class Create(base.ShowOne):
    """Create a port, or change one: what is left out stays as it is.

    Doing the same again changes nothing and disturbs no traffic.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("port", metavar="NAME", help="the port's name")
        parser.add_argument("--network", metavar="NET", required=True, help="network to join")
        parser.add_argument(
            "--mode",
            type=Mode,
            choices=list(Mode),
            help="who listens on the socket: 'client': QEMU does and the brick connects to it; "
            "'server': the brick does (default: as [vhost] default_mode says)",
        )
        parser.add_argument(
            "--socket", metavar="PATH", help="the socket (default: in [vhost] socket_dir)"
        )
        parser.add_argument("--mac", help="the guest's MAC (default: made from the name)")
        parser.add_argument("--mtu", type=int, metavar="N", help="default: the network's")
        parser.add_argument(
            "--queues", type=int, metavar="N", help="queue pairs the guest may use at most"
        )
        security = parser.add_mutually_exclusive_group()
        security.add_argument(
            "--security",
            type=SecurityMode,
            choices=(SecurityMode.OPEN, SecurityMode.CLOSED),
            help="'open': let everything through; 'closed': nothing (default: everything, or "
            "nothing on a guarded network)",
        )
        security.add_argument(
            "--allow",
            type=words.address_pair,
            metavar="MAC[=PREFIX]",
            action="append",
            help="let the guest send only from this MAC, and from these IP addresses if any are "
            "named; repeat for more",
        )
        parser.add_argument(
            "--create-network",
            action="store_true",
            help="create the network too if it is missing; it goes with its last port",
        )
        parser.add_argument(
            "--property",
            type=base.pair,
            action="append",
            metavar="KEY=VALUE",
            help="note for operators; repeat for more",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        request = methods.PortEnsure(
            id=parsed_args.port,
            network=parsed_args.network,
            mode=parsed_args.mode,
            socket_path=parsed_args.socket,
            mac=parsed_args.mac,
            mtu=parsed_args.mtu,
            queues=parsed_args.queues,
            security=_security(parsed_args),
            metadata=None if parsed_args.property is None else dict(parsed_args.property),
            create_network=parsed_args.create_network,
        )
        return base.fields(_details(self.client.call(request)))


def _security(parsed_args: argparse.Namespace) -> PortSecurity | None:
    if parsed_args.allow:
        return PortSecurity(mode=SecurityMode.FILTERED, allowed=tuple(parsed_args.allow))
    return PortSecurity(mode=parsed_args.security) if parsed_args.security else None


class Delete(base.Command):
    """Delete ports; one that does not exist counts as deleted."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("ports", metavar="NAME", nargs="+", help="a port's name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        for port in parsed_args.ports:
            self.client.call(methods.PortRemove(id=port))


class List(base.Lister):
    """List ports."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--network", metavar="NET", help="only the ports of this network")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        answer = self.client.call(methods.PortListCall(network=parsed_args.network))
        return base.table([_summary(status) for status in answer.ports], LIST_COLUMNS)


class Show(base.ShowOne):
    """Show everything about a port."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_port(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        return base.fields(_details(self.client.call(methods.PortShow(id=parsed_args.port))))


class Stats(base.ShowOne):
    """Show the traffic of a port since vhost-brickd started."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_port(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        status = self.client.call(methods.PortShow(id=parsed_args.port))
        return base.fields({"id": status.port.id, **_counters(status.counters)})


def _with_port(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("port", metavar="NAME", help="the port's name")
    return parser


def _summary(status: methods.PortStatus) -> dict[str, Any]:
    return {
        **to_json(status.port),
        "state": status.state,
        "security": status.security.mode.value,
        "sessions": len(status.sessions),
        "fault": Maybe(status.fault.name if status.fault else None),
    }


def _details(status: methods.PortStatus) -> dict[str, Any]:
    port, fault = status.port, status.fault
    return {
        **to_json(port),
        "security": status.security.mode.value,
        "allowed": AddressPairs(to_json(status.security.allowed)),
        "metadata": Pairs(dict(port.metadata)),
        "state": status.state,
        "fault": Maybe(fault.name if fault else None),
        "fault_message": Maybe(fault.message if fault else None),
        "fault_hint": Maybe(fault.hint if fault else None),
        "offered_features": Bits(status.offer.features),
        "offered_queues": status.offer.queues,
        "offered_mtu": status.offer.mtu,
        "sessions": Sessions(to_json(status.sessions)),
        "life": Life(to_json(status.life)),
        **_counters(status.counters),
    }


def _counters(counters: Counters) -> dict[str, Any]:
    return {**to_json(counters), "drops": Pairs(dict(counters.drops))}
