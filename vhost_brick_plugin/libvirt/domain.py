# SPDX-License-Identifier: Apache-2.0
"""Domains of a libvirt daemon: define, attach, detach.

The only importer of libvirt-python, and that only when a connection is opened,
so that everything else works where it is not installed.

Thread rule: one thread a :class:`Hypervisor`.  Calls block as long as libvirtd
does; it may block in a live attach while the interface's backend is away, so
callers make sure first that vhost-brickd serves the port.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any, Self

from vhost_brick_plugin import errors
from vhost_brick_plugin.libvirt import checks, document, metadata, xml
from vhost_brick_plugin.libvirt.metadata import HookPort
from vhost_brick_plugin.libvirt.xml import Interface
from vhost_brick_plugin.model import Mode

DETACH_TIMEOUT_S = 20.0
"""How long a guest may take to let go of an interface; Nova allows it as much."""

RUNNING, STORED = "running", "stored"
"""The two documents that a domain may have."""

_POLL_S = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A change of one of a domain's documents.

    :ivar which: RUNNING or STORED.
    """

    which: str
    before: str
    after: str


class Hypervisor:
    """A connection to libvirt, open inside ``with``.

    :param uri: such as ``qemu:///system``; None takes libvirt's own default
        (``$LIBVIRT_DEFAULT_URI``, the client configuration).

    Every method raises :class:`~vhost_brick_plugin.errors.DomainError` with a
    hint where libvirt fails, and where the domain does not exist.
    """

    def __init__(self, uri: str | None = None) -> None:
        self._uri = uri
        self._connection: Any = None

    def __enter__(self) -> Self:
        libvirt = _library()
        with _wrapped(f"connect to libvirt at {self._uri or 'its default address'}"):
            self._connection = libvirt.open(self._uri)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(_library().libvirtError):
            self._connection.close()

    def qemu_version(self) -> tuple[int, int] | None:
        """Return major and minor version of QEMU, or None for another hypervisor."""
        with _wrapped("ask libvirt for its version"):
            if self._connection.getType() != "QEMU":
                return None
            number = self._connection.getVersion()
        return number // 1_000_000, number // 1000 % 1000

    def libvirt_version(self) -> tuple[int, int]:
        """Return major and minor version of the libvirt daemon."""
        with _wrapped("ask libvirt for its version"):
            number = self._connection.getLibVersion()
        return number // 1_000_000, number // 1000 % 1000

    def capabilities(self) -> str:
        """Return libvirt's capabilities document."""
        with _wrapped("ask libvirt for its capabilities"):
            return str(self._connection.getCapabilities())

    def names(self) -> list[str]:
        """Return the names of all domains, running or not."""
        with _wrapped("list the domains"):
            return sorted(domain.name() for domain in self._connection.listAllDomains())

    def running(self) -> frozenset[str]:
        """Return the UUIDs of the domains that run; one that is about to start counts."""
        with _wrapped("list the domains"):
            active = self._connection.listAllDomains(_library().VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            return frozenset(domain.UUIDString() for domain in active)

    def document(self, name: str) -> str:
        """Return the document of a domain: the live one if it runs."""
        with _wrapped(f"read domain {name}"):
            return str(self._domain(name).XMLDesc(0))

    def stored(self, name: str) -> str:
        """Return the document with which a domain starts the next time."""
        flags = _library().VIR_DOMAIN_XML_INACTIVE | _library().VIR_DOMAIN_XML_SECURE
        with _wrapped(f"read domain {name}"):
            return str(self._domain(name).XMLDesc(flags))

    def define(self, text: str) -> str:
        """Define the domain that *text* describes and return its name.

        :raises errors.SharedMemoryMissing: the brick could not reach its memory.
        """
        checks.check_shared_memory(text)
        with _wrapped("define the domain"):
            domain = self._connection.defineXMLFlags(text, _library().VIR_DOMAIN_DEFINE_VALIDATE)
            return str(domain.name())

    def attach(
        self,
        name: str,
        interface: Interface,
        *,
        live: bool | None,
        config: bool | None,
        force: bool = False,
        port: HookPort | None = None,
        dry_run: bool = False,
    ) -> tuple[Change, ...]:
        """Give a domain an interface; return what that changes.

        :param live: attach to the running guest; None: if it runs.
        :param config: keep it for the next start; None: if the domain is persistent.
        :param force: attach live even where QEMU may crash of it, or will not reconnect.
        :param port: what the hook shall know of it; None: nothing, the port is not the domain's.
        :param dry_run: find out, and change nothing.
        :raises errors.SharedMemoryMissing: the brick could not reach its memory.
        """
        live, config = self.targets(name, live, config)
        made: list[Change] = []
        # The live part may fail, the stored part hardly: in this order nothing is half done.
        if live:
            made += self._attach_live(name, interface, port, force, dry_run)
        if config:
            made += self._attach_config(name, interface, port, dry_run)
        return tuple(made)

    def detach(
        self,
        name: str,
        path: str,
        *,
        live: bool | None,
        config: bool | None,
        timeout: float = DETACH_TIMEOUT_S,
        dry_run: bool = False,
    ) -> tuple[Change, ...]:
        """Take the interface on socket *path* from a domain; return what that changes.

        What the hook knows of its port goes as well.

        :param live: None: if the domain runs.
        :param config: None: if the domain is persistent.
        :param timeout: seconds the guest has to let go of it.
        :param dry_run: find out, and change nothing.
        :raises errors.DomainError: also when the guest does not.
        """
        live, config = self.targets(name, live, config)
        made: list[Change] = []
        if live:
            made += self._detach_live(name, path, timeout, dry_run)
        if config:
            made += self._detach_config(name, path, dry_run)
        return tuple(made)

    def targets(self, name: str, live: bool | None, config: bool | None) -> tuple[bool, bool]:
        """Decide what None means for this domain, and refuse what it cannot do."""
        with _wrapped(f"read domain {name}"):
            domain = self._domain(name)
            active, persistent = bool(domain.isActive()), bool(domain.isPersistent())
        if live and not active:
            raise errors.DomainError(
                f"domain {name} does not run", hint=f"Leave out --live, or: virsh start {name}"
            )
        if config and not persistent:
            raise errors.DomainError(
                f"domain {name} is transient: there is nothing to keep for its next start",
                hint="Leave out --config.",
            )
        if live is None and config is None:
            return active, persistent
        return bool(live), bool(config)

    # -- one domain ----------------------------------------------------------

    def _domain(self, name: str) -> Any:
        with _wrapped(f"find domain {name}"):
            return self._connection.lookupByName(name)

    def _attach_live(
        self, name: str, interface: Interface, port: HookPort | None, force: bool, dry_run: bool
    ) -> list[Change]:
        before = self.document(name)
        if document.element_at(before, interface.path) is not None:
            return []
        checks.check_shared_memory(before)
        after = document.put(before, interface)
        if not force:
            _refuse_without_reconnect(name, interface)
            self._refuse_crash(name, before, after)
        if port is not None:
            after = metadata.put(after, port)
        if not dry_run:
            with _wrapped(f"attach {interface.path} to domain {name}"):
                self._domain(name).attachDeviceFlags(
                    xml.to_text(xml.build(interface)), _library().VIR_DOMAIN_AFFECT_LIVE
                )
            self._tell_hook(name, before, after)
        return [Change(RUNNING, before, after)]

    def _tell_hook(self, name: str, before: str, after: str) -> None:
        """Have our metadata of a running domain as *after* has it."""
        if metadata.read(before) != metadata.read(after):
            library = _library()
            with _wrapped(f"change the metadata of domain {name}"):
                self._domain(name).setMetadata(
                    library.VIR_DOMAIN_METADATA_ELEMENT,
                    metadata.element(after),
                    metadata.PREFIX,
                    metadata.NAMESPACE,
                    library.VIR_DOMAIN_AFFECT_LIVE,
                )

    def _refuse_crash(self, name: str, before: str, after: str) -> None:
        """Refuse what would crash a running guest; before a start it is only a warning."""
        version = self.qemu_version()
        known = checks.advise(before, version)
        for finding in checks.advise(after, version):
            if finding.check == checks.TCG_VECTORS and finding not in known:
                raise errors.DomainError(
                    f"domain {name}: {finding.text}",
                    hint=f"{finding.fix} If you know that its guest uses no MSI-X: --force.",
                )

    def _attach_config(
        self, name: str, interface: Interface, port: HookPort | None, dry_run: bool
    ) -> list[Change]:
        before = self.stored(name)
        after = document.put(before, interface)
        if port is not None:
            after = metadata.put(after, port)
        if after == before:
            return []
        if not dry_run:
            self.define(after)
        return [Change(STORED, before, after)]

    def _detach_live(self, name: str, path: str, timeout: float, dry_run: bool) -> list[Change]:
        before = self.document(name)
        element = document.element_at(before, path)
        if element is None:
            return []
        after = metadata.take(document.take(before, path), path)
        if not dry_run:
            with _wrapped(f"detach {path} from domain {name}"):
                self._domain(name).detachDeviceFlags(
                    xml.to_text(element), _library().VIR_DOMAIN_AFFECT_LIVE
                )
            self._wait_gone(name, path, timeout)
            self._tell_hook(name, before, after)
        return [Change(RUNNING, before, after)]

    def _wait_gone(self, name: str, path: str, timeout: float) -> None:
        """Wait for the guest: libvirt returns before it has let go of the interface."""
        deadline = time.monotonic() + timeout
        while document.element_at(self.document(name), path) is not None:
            if time.monotonic() >= deadline:
                raise errors.DomainError(
                    f"the guest in domain {name} does not let go of {path}",
                    hint="Is its operating system up, with ACPI hot-plug? Try again, or detach "
                    "with --config and restart it.",
                )
            time.sleep(_POLL_S)

    def _detach_config(self, name: str, path: str, dry_run: bool) -> list[Change]:
        before = self.stored(name)
        after = metadata.take(document.take(before, path), path)
        if after == before:
            return []
        if not dry_run:
            with _wrapped(f"change domain {name}"):
                self._connection.defineXMLFlags(after, _library().VIR_DOMAIN_DEFINE_VALIDATE)
        return [Change(STORED, before, after)]


# -- libvirt-python ----------------------------------------------------------


def _refuse_without_reconnect(name: str, interface: Interface) -> None:
    """Refuse to plug in what the next restart of the daemon would cut off for good.

    libvirt 9.0 tells QEMU ``"reconnect": 0`` when it plugs a client in, whatever
    the element says (seen in its QMP log); before a start it says the right thing.
    """
    if interface.mode is Mode.SERVER:
        raise errors.DomainError(
            f"domain {name}: {interface.path}: libvirt loses <reconnect> when it attaches to a "
            "running guest, so the interface would be dead after a restart of vhost-brickd",
            hint="Make it a client-mode port, or attach with --config only and restart the "
            "domain. To attach it all the same: --force.",
        )


def _library() -> Any:
    """Return libvirt-python.

    :raises errors.DomainError: it is not installed.
    """
    try:
        import libvirt
    except ImportError as error:
        raise errors.DomainError(
            f"libvirt-python cannot be used: {error}", hint="Install python3-libvirt."
        ) from None
    # Without a handler, libvirt writes each error to stderr, beside ours.
    libvirt.registerErrorHandler(_ignore, None)
    return libvirt


def _ignore(_context: object, _error: object) -> None:
    pass


@contextlib.contextmanager
def _wrapped(doing: str) -> Iterator[None]:
    """Turn libvirt's errors into ours; *doing* says what was tried."""
    libvirt = _library()
    try:
        yield
    except libvirt.libvirtError as error:
        # The first line says it all; the schema checker repeats itself below.
        text = str(error).strip().partition("\n")[0]
        raise errors.DomainError(f"cannot {doing}: {text}", hint=_hint(libvirt, error)) from error


def _hint(libvirt: Any, error: Any) -> str | None:
    """Return what to do about an error of libvirt, or None for the general advice."""
    if "already exists with uuid" in str(error):
        return "Give the document the <uuid> of the domain that has its name, or another name."
    document_hint = "Correct the document; virt-xml-validate shows the place."
    return {
        libvirt.VIR_ERR_NO_DOMAIN: "'virsh list --all' shows the domains there are.",
        libvirt.VIR_ERR_SYSTEM_ERROR: "Start libvirtd, check who may open its socket, or name "
        "another with --connect URI.",
        libvirt.VIR_ERR_NO_CONNECT: "Name a libvirt daemon that is there with --connect URI.",
        libvirt.VIR_ERR_AUTH_FAILED: "Run as root, or as a member of the group libvirt.",
        libvirt.VIR_ERR_XML_DETAIL: document_hint,
        libvirt.VIR_ERR_XML_ERROR: document_hint,
        libvirt.VIR_ERR_XML_INVALID_SCHEMA: document_hint,
    }.get(error.get_error_code())
