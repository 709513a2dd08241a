# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick domain``: libvirt domains on our ports."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator
from typing import Any, Final, TextIO

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import base
from vhost_brick_plugin.cli import domain_options as options
from vhost_brick_plugin.cli.findings import FindingsLister
from vhost_brick_plugin.finding import Finding, Level, ok
from vhost_brick_plugin.libvirt import checks, document, hook_checks, metadata, owned, ports, xml
from vhost_brick_plugin.libvirt.domain import DETACH_TIMEOUT_S, RUNNING, Change, Hypervisor
from vhost_brick_plugin.libvirt.metadata import HookPort
from vhost_brick_plugin.libvirt.xml import Interface

HOOK_PATH: Final = "/etc/libvirt/hooks/qemu.d/vhost-brick"


class Command(base.Command):
    """A command that puts ports into domains."""

    def fit(self, name: str, parsed_args: argparse.Namespace) -> tuple[Interface, HookPort | None]:
        """Return the interface for port *name*, and what the hook has to know of it.

        The port exists, or is the domain's, whom the options give it to.
        """
        tuning = options.tuning(parsed_args)
        if parsed_args.network is None:
            if parsed_args.mode is not None:
                raise errors.InvalidParams(
                    "--mode is for ports that come and go with the domain",
                    hint="Name their network with --network, or leave it out.",
                )
            status = self.client.call(methods.PortShow(id=name))
            return ports.interface_for(status, **tuning), None
        config = self.client.call(methods.ConfigDump())
        port = ports.planned(name, parsed_args.network, parsed_args.mode, config)
        hook = HookPort(name=name, network=port.network, socket_path=port.socket_path)
        return ports.interface_of(port, **tuning), hook

    def show_changes(self, name: str, changes: Iterable[Change]) -> None:
        """Print what would change."""
        for change in changes:
            before, after = change.before.splitlines(), change.after.splitlines()
            titles = f"{name} ({change.which})", f"{name} ({change.which}, changed)"
            for line in difflib.unified_diff(before, after, *titles, lineterm=""):
                print(line, file=self.app.stdout)


class InterfaceXml(base.Command):
    """Print the interface element of a port, to be put into a domain's <devices>."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("port", metavar="PORT", help="the port's name")
        options.add_tuning(parser)
        options.add_device_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        status = self.client.call(methods.PortShow(id=parsed_args.port))
        interface = ports.interface_for(status, **options.tuning(parsed_args))
        print(xml.to_text(xml.build(interface)), file=self.app.stdout)


class Define(Command):
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
        options.add_dry_run(parser)
        options.add_hook(parser)
        options.add_tuning(parser)
        options.add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        before = text = _read(parsed_args.file, self.app.stdin)
        for name in parsed_args.ports:
            interface, hook = self.fit(name, parsed_args)
            if hook is not None:
                interface = ports.keep_mac(text, interface)
                text = metadata.put(text, hook)
            text = document.put(text, interface)
        checks.check_shared_memory(text)
        if parsed_args.dry_run:
            self._advise(text, None)
            self.show_changes(parsed_args.file, [Change("as it is", before, text)])
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


class Attach(Command):
    """Give a domain the interface of a port.

    Without --live and --config, both are done as far as the domain has a
    running guest and a stored definition.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("domain", metavar="DOMAIN", help="the domain's name")
        parser.add_argument("port", metavar="PORT", help="the port's name")
        options.add_targets(parser)
        parser.add_argument(
            "--force",
            action="store_true",
            help="attach live even where QEMU may crash of it, or will not reconnect",
        )
        options.add_dry_run(parser)
        options.add_hook(parser)
        options.add_tuning(parser)
        options.add_device_options(parser)
        options.add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        # A QEMU that attaches to a socket nobody serves stops answering libvirt.  That the
        # daemon answers here is as near as one can come to knowing that it will not.
        interface, hook = self.fit(parsed_args.port, parsed_args)
        with Hypervisor(parsed_args.connect) as hypervisor:
            if hook is not None:
                interface = ports.keep_mac(hypervisor.stored(parsed_args.domain), interface)
            with self._made(hypervisor, parsed_args, interface, hook):
                changes = hypervisor.attach(
                    parsed_args.domain,
                    interface,
                    live=parsed_args.live,
                    config=parsed_args.config,
                    force=parsed_args.force,
                    port=hook,
                    dry_run=parsed_args.dry_run,
                )
        if not changes:
            self.tell(f"domain {parsed_args.domain} has port {parsed_args.port} already")
        elif parsed_args.dry_run:
            self.show_changes(parsed_args.domain, changes)

    @contextlib.contextmanager
    def _made(
        self,
        hypervisor: Hypervisor,
        parsed_args: argparse.Namespace,
        interface: Interface,
        hook: HookPort | None,
    ) -> Iterator[None]:
        """Have a running domain's own port made, and not left behind if it cannot be attached."""
        name = parsed_args.domain
        live, _ = hypervisor.targets(name, parsed_args.live, parsed_args.config)
        if hook is None or not live or parsed_args.dry_run:
            yield
            return
        domain = owned.Domain.of(hypervisor.document(name))
        is_new = owned.make(self.client.call, domain, hook, interface)
        try:
            yield
        except errors.VhostBrickError:
            attached = document.element_at(hypervisor.document(name), interface.path) is not None
            if is_new and not attached:
                owned.remove(self.client.call, domain, hook.name)
            raise


class Detach(Command):
    """Take the interface of a port from a domain; the port stays, unless it is the domain's.

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
        options.add_targets(parser)
        options.add_dry_run(parser)
        options.add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        with Hypervisor(parsed_args.connect) as hypervisor:
            path = self._path(hypervisor, parsed_args)
            changes = hypervisor.detach(
                parsed_args.domain,
                path,
                live=parsed_args.live,
                config=parsed_args.config,
                timeout=parsed_args.wait,
                dry_run=parsed_args.dry_run,
            )
        if not changes:
            self.tell(f"domain {parsed_args.domain} has no interface on {path}")
        elif parsed_args.dry_run:
            self.show_changes(parsed_args.domain, changes)
        else:
            self._remove_owned(path, changes)

    def _path(self, hypervisor: Hypervisor, parsed_args: argparse.Namespace) -> str:
        """Return the socket of the port: the domain knows those of its own ports."""
        name: str = parsed_args.port
        if name.startswith("/"):
            return name
        for text in (
            hypervisor.document(parsed_args.domain),
            hypervisor.stored(parsed_args.domain),
        ):
            for port in metadata.read(text):
                if port.name == name:
                    return port.socket_path
        return self.client.call(methods.PortShow(id=name)).port.socket_path

    def _remove_owned(self, path: str, changes: Iterable[Change]) -> None:
        """Remove the port at *path* if it was the domain's and the guest has lost it."""
        for change in changes:
            for port in metadata.read(change.before) if change.which == RUNNING else ():
                if port.socket_path == path:
                    owned.remove(self.client.call, owned.Domain.of(change.before), port.name)


class Reconcile(base.Command):
    """Remove the ports of domains that are gone.

    Of those that came with a domain and did not go with it: the host lost power, or
    vhost-brickd was away. Ports that somebody made by hand, or Nova, are left alone.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--dry-run", action="store_true", help="remove nothing, and print what would go"
        )
        options.add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        # In this order: a domain that starts meanwhile runs, or has marked its ports anew.
        found = self.client.call(methods.PortListCall()).ports
        with Hypervisor(parsed_args.connect) as hypervisor:
            running = hypervisor.running()
        for status, removal in owned.left_over(found, running):
            if parsed_args.dry_run or self.client.call(removal).existed:
                domain = status.port.metadata.get(owned.DOMAIN_NAME)
                verb = "would remove" if parsed_args.dry_run else "removed"
                print(f"{verb} port {status.port.id} of domain {domain}", file=self.app.stdout)


class Check(FindingsLister):
    """Look for what would keep a domain from its ports, and say the fix."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("domain", metavar="DOMAIN", help="the domain's name")
        options.add_connect(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with Hypervisor(parsed_args.connect) as hypervisor:
            text = hypervisor.document(parsed_args.domain)
            version = hypervisor.qemu_version()
            runs, _ = hypervisor.targets(parsed_args.domain, None, None)
        served = self.client.call(methods.PortListCall()).ports
        return self.show(
            (
                checks.shared_memory(text),
                *checks.advise(text, version),
                *self._about_hook(text, served, runs),
                *_about_interfaces(text, served, runs),
            )
        )

    def _about_hook(
        self, text: str, served: Iterable[methods.PortStatus], runs: bool
    ) -> Iterator[Finding]:
        if metadata.read(text):
            networks = self.client.call(methods.NetworkListCall()).networks
            yield from hook_checks.look(
                text,
                ports={status.port.id: status for status in served},
                networks={status.network.name for status in networks},
                runs=runs,
                hook=HOOK_PATH if os.access(HOOK_PATH, os.X_OK) else None,
            )


def _about_interfaces(
    text: str, served: Iterable[methods.PortStatus], runs: bool
) -> Iterator[Finding]:
    by_path = {status.port.socket_path: status for status in served}
    to_come = set() if runs else {port.socket_path for port in metadata.read(text)}
    for interface in document.interfaces(text):
        status = by_path.get(interface.path)
        if status is not None or interface.path not in to_come:
            found = checks.compare(interface, status)
            yield from found or [_fits(interface, by_path[interface.path])]


def _fits(interface: Interface, status: methods.PortStatus) -> Finding:
    text = f"{interface.path} fits port {status.port.id}, which is {status.state}"
    return ok("port", text)


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
