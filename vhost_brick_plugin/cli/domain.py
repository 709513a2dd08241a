# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick domain``: libvirt domains on our ports."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, TextIO

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import base
from vhost_brick_plugin.cli.findings import FindingsLister
from vhost_brick_plugin.finding import Finding, Level
from vhost_brick_plugin.libvirt import checks, document, ports, xml
from vhost_brick_plugin.libvirt.domain import DETACH_TIMEOUT_S, Hypervisor
from vhost_brick_plugin.libvirt.xml import Interface


class InterfaceXml(base.Command):
    """Print the interface element of a port, to be put into a domain's <devices>."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("port", metavar="PORT", help="the port's name")
        _add_tuning(parser)
        _add_device_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        status = self.client.call(methods.PortShow(id=parsed_args.port))
        interface = ports.interface_for(status, **_tuning(parsed_args))
        print(xml.to_text(xml.build(interface)), file=self.app.stdout)


class Define(base.Command):
    """Put the interfaces of ports into a domain document and define the domain.

    An interface that is there already is brought up to date and keeps its PCI
    address. Nothing else in the document is touched.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE", help="the domain document; '-' reads stdin")
        parser.add_argument(
            "--port",
            dest="ports",
            metavar="PORT",
            action="append",
            required=True,
            help="a port the domain shall have; repeat for more",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="print the document and define nothing"
        )
        _add_tuning(parser)
        _add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        text = _read(parsed_args.file, self.app.stdin)
        for port in parsed_args.ports:
            status = self.client.call(methods.PortShow(id=port))
            text = document.put(text, ports.interface_for(status, **_tuning(parsed_args)))
        checks.check_shared_memory(text)
        if parsed_args.dry_run:
            self._advise(text, None)
            self.app.stdout.write(text)
            return
        with Hypervisor(parsed_args.connect) as hypervisor:
            self._advise(text, hypervisor.qemu_version())
            print(hypervisor.define(text), file=self.app.stdout)

    def _advise(self, text: str, qemu: tuple[int, int] | None) -> None:
        """Warn of what is unwise; raise DomainError where it cannot work."""
        for finding in checks.advise(text, qemu):
            if finding.level is Level.FAIL:
                raise errors.DomainError(finding.text, hint=finding.fix)
            self.tell(f"warning: {finding.text}")
            self.tell(f"hint: {finding.fix}")


class Attach(base.Command):
    """Give a domain the interface of a port.

    Without --live and --config, both are done as far as the domain has a
    running guest and a stored definition.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("domain", metavar="DOMAIN", help="the domain's name")
        parser.add_argument("port", metavar="PORT", help="the port's name")
        _add_targets(parser)
        parser.add_argument(
            "--force",
            action="store_true",
            help="attach live even where QEMU may crash of it, or will not reconnect",
        )
        _add_tuning(parser)
        _add_device_options(parser)
        _add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        # A QEMU that attaches to a socket nobody serves stops answering libvirt.  That the
        # daemon answers here is as near as one can come to knowing that it will not.
        status = self.client.call(methods.PortShow(id=parsed_args.port))
        interface = ports.interface_for(status, **_tuning(parsed_args))
        with Hypervisor(parsed_args.connect) as hypervisor:
            changed = hypervisor.attach(
                parsed_args.domain,
                interface,
                live=parsed_args.live,
                config=parsed_args.config,
                force=parsed_args.force,
            )
        if not changed:
            self.tell(f"domain {parsed_args.domain} has port {parsed_args.port} already")


class Detach(base.Command):
    """Take the interface of a port from a domain; the port stays.

    Without --live and --config, both are done as far as the domain has a
    running guest and a stored definition.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("domain", metavar="DOMAIN", help="the domain's name")
        parser.add_argument(
            "port",
            metavar="PORT",
            help="the port's name, or the path of its socket if the port is gone",
        )
        parser.add_argument(
            "--wait",
            type=float,
            metavar="SECONDS",
            default=DETACH_TIMEOUT_S,
            help="how long the guest may take to let go of it (default: %(default)g)",
        )
        _add_targets(parser)
        _add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        path = parsed_args.port
        if not path.startswith("/"):
            path = self.client.call(methods.PortShow(id=path)).port.socket_path
        with Hypervisor(parsed_args.connect) as hypervisor:
            changed = hypervisor.detach(
                parsed_args.domain,
                path,
                live=parsed_args.live,
                config=parsed_args.config,
                timeout=parsed_args.wait,
            )
        if not changed:
            self.tell(f"domain {parsed_args.domain} has no interface on {path}")


class Check(FindingsLister):
    """Look for what would keep a domain from its ports, and say the fix."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("domain", metavar="DOMAIN", help="the domain's name")
        _add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with Hypervisor(parsed_args.connect) as hypervisor:
            text = hypervisor.document(parsed_args.domain)
            version = hypervisor.qemu_version()
        served = self.client.call(methods.PortListCall()).ports
        return self.show(_findings(text, version, {s.port.socket_path: s for s in served}))


def _findings(
    text: str, version: tuple[int, int] | None, served: dict[str, methods.PortStatus]
) -> Iterator[Finding]:
    yield checks.shared_memory(text)
    yield from checks.advise(text, version)
    for interface in document.interfaces(text):
        found = checks.compare(interface, served.get(interface.path))
        yield from found or [_fits(interface, served[interface.path])]


def _fits(interface: Interface, status: methods.PortStatus) -> Finding:
    text = f"{interface.path} fits port {status.port.id}, which is {status.state}"
    return Finding(check="port", level=Level.OK, text=text)


# -- options -----------------------------------------------------------------


def _add_connect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--connect", metavar="URI", help="libvirt daemon (default: as virsh would take)"
    )


def _add_targets(parser: argparse.ArgumentParser) -> None:
    # None, not False, where an option is not given: then the domain decides.
    for name, what in (("live", "the running guest"), ("config", "the stored definition")):
        parser.add_argument(f"--{name}", action="store_true", default=None, help=f"change {what}")


def _add_tuning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tuning of the interface")
    group.add_argument("--queues", type=int, metavar="N", help="queue pairs")
    for name in ("rx", "tx"):
        group.add_argument(
            f"--{name}-queue-size", type=int, metavar="N", help="descriptors: 256, 512 or 1024"
        )
    group.add_argument(
        "--reconnect",
        type=int,
        metavar="SECONDS",
        help="between QEMU's tries, where QEMU is the client; 0: never "
        f"(default: {ports.DEFAULT_RECONNECT_S})",
    )
    group.add_argument(
        "--packed",
        type=_on_off,
        metavar="on|off",
        help="packed rings; they do not survive a restart of vhost-brickd",
    )
    group.add_argument("--event-idx", type=_on_off, metavar="on|off")
    group.add_argument(
        "--offload",
        type=_offload,
        metavar="SIDE.NAME=on|off",
        action="append",
        default=[],
        help=f"SIDE host: {', '.join(xml.HOST_OFFLOADS)}; guest: {', '.join(xml.GUEST_OFFLOADS)}; "
        "repeat for more",
    )


def _add_device_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("device")
    group.add_argument("--alias", help=f"libvirt's name of the device: {xml.USER_ALIAS}...")
    group.add_argument("--boot-order", type=int, metavar="N")
    group.add_argument("--link", choices=("up", "down"), help="state of the guest's link")
    group.add_argument(
        "--teaming", action="store_true", help="it is the lasting half of a team with a hostdev"
    )


def _tuning(parsed_args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of ports.interface_for that the options say."""
    link = getattr(parsed_args, "link", None)
    flags = parsed_args.offload
    return {
        "queues": parsed_args.queues,
        "rx_queue_size": parsed_args.rx_queue_size,
        "tx_queue_size": parsed_args.tx_queue_size,
        "reconnect_s": parsed_args.reconnect,
        "packed": parsed_args.packed,
        "event_idx": parsed_args.event_idx,
        "host": {name: on for side, name, on in flags if side == "host"},
        "guest": {name: on for side, name, on in flags if side == "guest"},
        "alias": getattr(parsed_args, "alias", None),
        "boot_order": getattr(parsed_args, "boot_order", None),
        "link_up": None if link is None else link == "up",
        "teaming": getattr(parsed_args, "teaming", False) or None,
    }


def _on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'on' nor 'off'")
    return text == "on"


def _offload(text: str) -> tuple[str, str, bool]:
    what, value = base.pair(text)
    side, _, name = what.partition(".")
    if side not in ("host", "guest"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form SIDE.NAME=on, SIDE host or guest"
        )
    return side, name, _on_off(value)


def _read(path: str, stdin: TextIO) -> str:
    """Return the text in file *path* to the byte; ``-`` is *stdin*."""
    if path == "-":
        return stdin.read()
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except UnicodeDecodeError:
        raise errors.DomainError(
            f"{path} is not in UTF-8", hint="Convert it, as with: iconv -t UTF-8"
        ) from None
