# SPDX-License-Identifier: Apache-2.0
"""libvirt and its domains."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Collection, Iterator, Sequence

from vhost_brick_plugin import errors
from vhost_brick_plugin.doctor import cpus, kvm, numa, pages
from vhost_brick_plugin.doctor.files import User
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, Level, fail, ok, warn
from vhost_brick_plugin.libvirt import checks, document, xml
from vhost_brick_plugin.libvirt.domain import Hypervisor

SIGNS = ("/usr/sbin/libvirtd", "/usr/sbin/virtqemud", "/run/libvirt")
"""What is there where libvirt's daemon is installed, or runs in a container."""

_LABEL = re.compile(r"\+?(\d+):\+?(\d+)\Z")


class Examination:
    """What libvirt says, or that it says nothing.

    :ivar access: whether libvirt could be reached.
    :ivar qemu_user: whom it runs QEMU as, if known.
    :ivar qemu: QEMU's version, if known.
    :ivar libvirt: libvirt's.
    """

    def __init__(self, hypervisor: Hypervisor | None, access: Finding) -> None:
        self._hypervisor = hypervisor
        self.access = access
        self.qemu_user: User | None = None
        self.qemu: tuple[int, int] | None = None
        self.libvirt: tuple[int, int] | None = None
        if hypervisor is not None:
            with contextlib.suppress(errors.DomainError):
                self.qemu_user = _user(hypervisor.capabilities())
                self.qemu = hypervisor.qemu_version()
                self.libvirt = hypervisor.libvirt_version()

    def check_domains(self, site: Site, found: kvm.Result) -> Iterator[Finding]:
        """Look at each domain that has an interface of ours, and for ports that none has."""
        if self._hypervisor is None:
            return
        used: set[str] = set()
        try:
            for name in self._hypervisor.names():
                text = self._hypervisor.document(name)
                used |= paths(text)
                yield from check_domain(site, name, text, self.qemu, found)
        except errors.DomainError as error:
            yield _fail("domains", error)
        else:
            yield from check_ports(site, used)


def is_libvirt_host(connect: str | None, signs: Sequence[str] = SIGNS) -> bool:
    """Tell whether libvirt is asked for, or installed: others' guests do without."""
    return (
        connect is not None
        or "LIBVIRT_DEFAULT_URI" in os.environ
        or any(map(os.path.exists, signs))
    )


@contextlib.contextmanager
def examine(connect: str | None, is_needed: bool) -> Iterator[Examination]:
    """Connect to libvirt, or find that one cannot: a fault only where it is needed."""
    with contextlib.ExitStack() as stack:
        try:
            hypervisor = stack.enter_context(Hypervisor(connect))
        except errors.DomainError as error:
            absent = ok(
                "libvirt", "not installed, and not needed by guests that are not its domains"
            )
            yield Examination(None, _fail("libvirt", error) if is_needed else absent)
            return
        yield Examination(hypervisor, ok("libvirt", "libvirt answers"))


def check_domain(
    site: Site, name: str, text: str, qemu: tuple[int, int] | None, found: kvm.Result
) -> Iterator[Finding]:
    """Judge a domain document, if it has an interface of ours."""
    check = f"domain {name}"
    try:
        if not document.interfaces(text):
            return
        bad = [f for f in _about(site, text, qemu) if f.level is not Level.OK]
    except errors.DomainError as error:
        yield _fail(check, error)
        return
    bad = [dataclasses.replace(finding, check=check) for finding in bad]
    bad += _check_type(name, text, found)
    if not _runs(text):
        bad += pages.check_start(name, text, pages.pools())
    bad += cpus.check_pins(site, name, text)
    bad += numa.check_guest(site, name, numa.memory_nodes(name, text))
    yield from bad
    if not bad:
        ports = ", and fits its ports" if site.daemon_is_up else ""
        yield ok(check, f"its memory is shared{ports}")


def _check_type(name: str, text: str, found: kvm.Result) -> Iterator[Finding]:
    """Tell of a domain that asks for a KVM which runs no guest; silent if not."""
    if found.fails and xml.parse(text).get("type") == "kvm":
        yield fail(
            f"domain {name}",
            f"it is of type 'kvm', and KVM runs no guest here: {found.reason}",
            f"Mend KVM (see the check 'kvm'), or set <domain type='qemu'> (virsh edit {name}).",
        )


def _about(site: Site, text: str, qemu: tuple[int, int] | None) -> Iterator[Finding]:
    yield checks.shared_memory(text)
    yield from checks.advise(text, qemu)
    if site.daemon_is_up:
        served = {status.port.socket_path: status for status in site.ports}
        for interface in document.interfaces(text):
            status = served.get(interface.path)
            is_certain = status is not None or _needs_port(site, text, interface.path)
            for finding in checks.compare(interface, status):
                yield finding if is_certain else _soften(finding)


def _needs_port(site: Site, text: str, path: str) -> bool:
    """Tell whether a domain is in trouble if nobody serves *path*: it runs, and it is ours."""
    return _runs(text) and os.path.dirname(path) == site.options["vhost.socket_dir"]


def _soften(finding: Finding) -> Finding:
    fix = f"{finding.fix} If another program serves it, all is well."
    return dataclasses.replace(finding, level=Level.WARN, fix=fix)


def _runs(text: str) -> bool:
    return xml.parse(text).get("id") is not None


# -- ports that no domain has ------------------------------------------------


def paths(text: str) -> set[str]:
    """Return the sockets that a domain document names; none of one that is not valid."""
    try:
        return {interface.path for interface in document.interfaces(text)}
    except errors.DomainError:
        return set()


def check_ports(site: Site, used: Collection[str]) -> Iterator[Finding]:
    """Find ports that no domain names and nobody uses.

    :param used: the sockets that domains name.
    """
    if not site.daemon_is_up:
        return
    left = [s for s in site.ports if s.port.socket_path not in used and not s.sessions]
    for status in left:
        port = status.port
        about = ", ".join(f"{key} {value}" for key, value in sorted(port.metadata.items()))
        yield warn(
            f"port {port.id}",
            f"no domain has an interface on {port.socket_path}, and nobody is connected"
            + (f" ({about})" if about else ""),
            f"If its VM is gone: vhost-brick port delete {port.id}. If not: vhost-brick domain "
            f"attach DOMAIN {port.id}",
        )
    if not left:
        yield ok("drift", "each port has a domain, or somebody who is connected")


def _user(capabilities: str) -> User | None:
    """Return the user in libvirt's base label, such as ``+64055:+64055``."""
    for model in xml.parse(capabilities).iterfind("host/secmodel"):
        if model.findtext("model") == "dac":
            match = _LABEL.match(model.findtext("baselabel") or "")
            return User(int(match[1]), int(match[2])) if match else None
    return None


def _fail(check: str, error: errors.VhostBrickError) -> Finding:
    return fail(check, error.message, error.hint)
