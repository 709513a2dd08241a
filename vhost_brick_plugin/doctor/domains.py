# SPDX-License-Identifier: Apache-2.0
"""libvirt and its domains."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from vhost_brick_plugin import errors
from vhost_brick_plugin.doctor.files import User
from vhost_brick_plugin.finding import Finding, Level
from vhost_brick_plugin.libvirt import checks, document, xml
from vhost_brick_plugin.libvirt.domain import Hypervisor

_LABEL = re.compile(r"\+?(\d+):\+?(\d+)\Z")


class Examination:
    """What libvirt says, or that it says nothing.

    :ivar access: whether libvirt could be reached.
    :ivar qemu_user: whom it runs QEMU as, if known.
    """

    def __init__(self, hypervisor: Hypervisor | None, access: Finding) -> None:
        self._hypervisor = hypervisor
        self.access = access
        self.qemu_user: User | None = None
        if hypervisor is not None:
            with contextlib.suppress(errors.DomainError):
                self.qemu_user = _user(hypervisor.capabilities())

    def check_domains(self) -> Iterator[Finding]:
        """Look at each domain that has an interface of ours."""
        if self._hypervisor is None:
            return
        try:
            version = self._hypervisor.qemu_version()
            for name in self._hypervisor.names():
                yield from _check_domain(name, self._hypervisor.document(name), version)
        except errors.DomainError as error:
            yield _fail("domains", error)


@contextlib.contextmanager
def examine(connect: str | None) -> Iterator[Examination]:
    """Connect to libvirt, or find that one cannot."""
    with contextlib.ExitStack() as stack:
        try:
            hypervisor = stack.enter_context(Hypervisor(connect))
            version = hypervisor.qemu_version()
        except errors.DomainError as error:
            yield Examination(None, _fail("libvirt", error))
            return
        text = "libvirt answers" + (f", QEMU {version[0]}.{version[1]}" if version else "")
        yield Examination(hypervisor, Finding(check="libvirt", level=Level.OK, text=text))


def _check_domain(name: str, text: str, version: tuple[int, int] | None) -> Iterator[Finding]:
    check = f"domain {name}"
    try:
        interfaces = document.interfaces(text)
        found = [checks.shared_memory(text), *checks.advise(text, version)] if interfaces else []
    except errors.DomainError as error:
        yield _fail(check, error)
        return
    bad = [finding for finding in found if finding.level is not Level.OK]
    for finding in bad:
        yield Finding(check=check, level=finding.level, text=finding.text, fix=finding.fix)
    if interfaces and not bad:
        yield Finding(check=check, level=Level.OK, text="its memory is shared")


def _user(capabilities: str) -> User | None:
    """Return the user in libvirt's base label, such as ``+64055:+64055``."""
    for model in xml.parse(capabilities).iterfind("host/secmodel"):
        if model.findtext("model") == "dac":
            match = _LABEL.match(model.findtext("baselabel") or "")
            return User(int(match[1]), int(match[2])) if match else None
    return None


def _fail(check: str, error: errors.VhostBrickError) -> Finding:
    return Finding(check=check, level=Level.FAIL, text=error.message, fix=error.hint)
