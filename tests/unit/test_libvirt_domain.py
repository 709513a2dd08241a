# SPDX-License-Identifier: Apache-2.0
"""Domains: defined in libvirt's test driver; live changes in a double of libvirt-python.

The test driver (``test:///default``) checks and keeps definitions as the real
one does, but attaches nothing to running guests; the VM tests do that for real.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

libvirt = pytest.importorskip("libvirt")

from vhost_brick_plugin import errors  # noqa: E402
from vhost_brick_plugin.libvirt import document, metadata, xml  # noqa: E402
from vhost_brick_plugin.libvirt.domain import RUNNING, STORED, Hypervisor  # noqa: E402
from vhost_brick_plugin.libvirt.metadata import HookPort  # noqa: E402
from vhost_brick_plugin.libvirt.xml import Interface  # noqa: E402
from vhost_brick_plugin.model import Mode  # noqa: E402

PORT = HookPort(name="p1", network="blue", socket_path="/run/s/p1")
INTERFACE = Interface(mode=Mode.CLIENT, path="/run/s/p1", mac="52:54:00:00:00:01")
UUID = "3f52f167-5203-48bc-ad31-634fea076069"
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"


def domain_xml(name: str = "vm", kind: str = "test", memory: str = SHARED) -> str:
    return (
        f"<domain type='{kind}'>\n  <name>{name}</name>\n  <uuid>{UUID}</uuid>\n"
        f"  <memory>1024</memory>\n  {memory}\n  <os><type>hvm</type></os>\n"
        "  <devices>\n  </devices>\n</domain>\n"
    )


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    # Each connection to test:///default in a process sees the same domains.
    with Hypervisor("test:///default") as connection:
        yield connection
        for domain in connection._connection.listAllDomains():
            if domain.name() != "test":
                persistent = domain.isPersistent()
                if domain.isActive():
                    domain.destroy()
                if persistent:
                    domain.undefine()


# -- the connection ----------------------------------------------------------


def test_no_libvirt_daemon_is_an_error_with_a_hint(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(errors.DomainError, match="cannot connect to libvirt") as caught,
        Hypervisor("qemu+unix:///system?socket=/nonexistent"),
    ):
        pass
    assert "--connect URI" in caught.value.hint
    assert capfd.readouterr().err == "", "libvirt itself wrote to stderr"


def test_what_is_not_qemu_has_no_qemu_version(hypervisor: Hypervisor) -> None:
    assert hypervisor.qemu_version() is None


def test_an_unknown_domain_is_an_error_with_a_hint(hypervisor: Hypervisor) -> None:
    for call in (
        lambda: hypervisor.document("nope"),
        lambda: hypervisor.attach("nope", INTERFACE, live=None, config=None),
        lambda: hypervisor.detach("nope", "/x", live=None, config=None),
    ):
        with pytest.raises(errors.DomainError, match="nope") as caught:
            call()
        assert "virsh list --all" in caught.value.hint


NO_LIBVIRT = """
import sys
sys.modules["libvirt"] = None
from vhost_brick_plugin import errors
from vhost_brick_plugin.libvirt.domain import Hypervisor
try:
    Hypervisor().__enter__()
except errors.DomainError as error:
    print(error.hint)
"""


def test_libvirt_python_is_needed_only_to_connect() -> None:
    done = subprocess.run([sys.executable, "-c", NO_LIBVIRT], capture_output=True, text=True)
    assert done.stdout == "Install python3-libvirt.\n", done.stderr


# -- define ------------------------------------------------------------------


def test_define_keeps_the_interface(hypervisor: Hypervisor) -> None:
    assert hypervisor.define(document.put(domain_xml(), INTERFACE)) == "vm"
    assert hypervisor.names() == ["test", "vm"]
    assert document.interfaces(hypervisor.document("vm")) == (INTERFACE,)


def test_define_refuses_memory_that_is_not_shared(hypervisor: Hypervisor) -> None:
    with pytest.raises(errors.SharedMemoryMissing):
        hypervisor.define(domain_xml(memory=""))
    assert hypervisor.names() == ["test"]


def test_define_refuses_what_the_schema_does_not_know(hypervisor: Hypervisor) -> None:
    text = domain_xml().replace("<devices>", "<nonsense/><devices>")
    with pytest.raises(errors.DomainError, match="failed to validate") as caught:
        hypervisor.define(text)
    assert "virt-xml-validate" in caught.value.hint
    assert "\n" not in caught.value.message


def test_define_of_a_name_with_another_uuid_says_what_to_do(hypervisor: Hypervisor) -> None:
    hypervisor.define(domain_xml())
    with pytest.raises(errors.DomainError) as caught:
        hypervisor.define(domain_xml().replace(UUID, UUID.replace("3f", "40")))
    assert "<uuid>" in caught.value.hint


# -- the stored definition ---------------------------------------------------


def test_attach_and_detach_change_the_definition_once(hypervisor: Hypervisor) -> None:
    hypervisor.define(domain_xml())
    before = hypervisor.document("vm")
    assert hypervisor.attach("vm", INTERFACE, live=None, config=None)
    assert document.interfaces(hypervisor.document("vm")) == (INTERFACE,)
    assert not hypervisor.attach("vm", INTERFACE, live=None, config=True)
    assert hypervisor.detach("vm", INTERFACE.path, live=None, config=None)
    assert hypervisor.document("vm") == before
    assert not hypervisor.detach("vm", INTERFACE.path, live=None, config=True)


def test_attach_to_the_definition_checks_memory(hypervisor: Hypervisor) -> None:
    hypervisor._connection.defineXML(domain_xml(memory=""))
    with pytest.raises(errors.SharedMemoryMissing):
        hypervisor.attach("vm", INTERFACE, live=None, config=None)


def test_live_is_refused_for_a_domain_that_does_not_run(hypervisor: Hypervisor) -> None:
    hypervisor.define(domain_xml())
    with pytest.raises(errors.DomainError, match="vm does not run") as caught:
        hypervisor.attach("vm", INTERFACE, live=True, config=None)
    assert "virsh start vm" in caught.value.hint


def test_config_is_refused_for_a_transient_domain(hypervisor: Hypervisor) -> None:
    hypervisor._connection.createXML(domain_xml(), 0)
    with pytest.raises(errors.DomainError, match="vm is transient"):
        hypervisor.attach("vm", INTERFACE, live=None, config=True)


# -- the running guest -------------------------------------------------------


class RunningDomain:
    """A running, persistent domain, as far as we look at one.

    :ivar told: our metadata of the running domain, as it was set.
    :ivar releases: whether the guest lets go of a device.
    """

    def __init__(self, text: str) -> None:
        self.live = text
        self.stored = text
        self.flags: list[int] = []
        self.told: list[str | None] = []
        self.releases = True

    def name(self) -> str:
        return "vm"

    def isActive(self) -> int:
        return 1

    def isPersistent(self) -> int:
        return 1

    def XMLDesc(self, flags: int) -> str:
        return self.stored if flags & libvirt.VIR_DOMAIN_XML_INACTIVE else self.live

    def attachDeviceFlags(self, text: str, flags: int) -> None:
        self.flags.append(flags)
        self.live = document.put(self.live, xml.read(xml.parse(text)))

    def setMetadata(self, kind: int, text: str | None, key: str, uri: str, flags: int) -> None:
        assert kind == libvirt.VIR_DOMAIN_METADATA_ELEMENT
        assert (key, uri) == (metadata.PREFIX, metadata.NAMESPACE)
        assert flags == libvirt.VIR_DOMAIN_AFFECT_LIVE
        self.told.append(text)

    def detachDeviceFlags(self, text: str, flags: int) -> None:
        self.flags.append(flags)
        element = xml.parse(text)
        assert element.find("address") is not None, "libvirt finds the device by its address"
        if self.releases:
            self.live = document.take(self.live, xml.read(element).path)


class Connection:
    """What stands in for virConnect around one running domain."""

    def __init__(self, domain: RunningDomain, qemu: int = 7_002_000) -> None:
        self._domain = domain
        self._qemu = qemu

    def lookupByName(self, name: str) -> RunningDomain:
        assert name == "vm"
        return self._domain

    def getType(self) -> str:
        return "QEMU"

    def getVersion(self) -> int:
        return self._qemu

    def defineXMLFlags(self, text: str, flags: int) -> RunningDomain:
        assert flags == libvirt.VIR_DOMAIN_DEFINE_VALIDATE
        self._domain.stored = text
        return self._domain


@pytest.fixture
def running() -> RunningDomain:
    return RunningDomain(domain_xml(kind="kvm"))


def connect(domain: RunningDomain, **kwargs: Any) -> Hypervisor:
    hypervisor = Hypervisor()
    hypervisor._connection = Connection(domain, **kwargs)
    return hypervisor


@pytest.mark.parametrize(
    ("live", "config", "in_live", "in_stored"),
    [
        (None, None, True, True),
        (True, None, True, False),
        (None, True, False, True),
        (True, True, True, True),
    ],
)
def test_attach_changes_what_was_asked_for(
    running: RunningDomain, live: bool | None, config: bool | None, in_live: bool, in_stored: bool
) -> None:
    assert connect(running).attach("vm", INTERFACE, live=live, config=config)
    assert bool(document.interfaces(running.live)) is in_live
    assert bool(document.interfaces(running.stored)) is in_stored
    assert running.flags == [libvirt.VIR_DOMAIN_AFFECT_LIVE] * in_live


def test_attach_twice_attaches_once(running: RunningDomain) -> None:
    hypervisor = connect(running)
    hypervisor.attach("vm", INTERFACE, live=None, config=None)
    assert not hypervisor.attach("vm", INTERFACE, live=None, config=None)
    assert len(running.flags) == 1


def test_live_attach_checks_memory_first(running: RunningDomain) -> None:
    running.live = domain_xml(kind="kvm", memory="")
    with pytest.raises(errors.SharedMemoryMissing):
        connect(running).attach("vm", INTERFACE, live=None, config=None)
    assert running.flags == []
    assert document.interfaces(running.stored) == ()


def test_live_attach_refuses_what_would_not_reconnect(running: RunningDomain) -> None:
    server = Interface(mode=Mode.SERVER, path="/run/s/p1")
    with pytest.raises(errors.DomainError, match="loses <reconnect>") as caught:
        connect(running).attach("vm", server, live=True, config=None)
    assert "client-mode" in caught.value.hint
    assert running.flags == []
    assert connect(running).attach("vm", server, live=None, config=True)
    assert connect(running).attach("vm", server, live=True, config=None, force=True)


def test_live_attach_refuses_to_crash_qemu() -> None:
    running = RunningDomain(domain_xml(kind="qemu"))
    with pytest.raises(errors.DomainError, match=r"QEMU 7\.2 without KVM crashes") as caught:
        connect(running).attach("vm", INTERFACE, live=True, config=None)
    assert "--force" in caught.value.hint
    assert running.flags == []
    assert connect(running).attach("vm", INTERFACE, live=True, config=None, force=True)


def test_a_crash_that_another_interface_may_cause_is_no_excuse() -> None:
    other = Interface(mode=Mode.CLIENT, path="/run/s/p0")
    running = RunningDomain(document.put(domain_xml(kind="qemu"), other))
    with pytest.raises(errors.DomainError, match=r"/run/s/p1: QEMU 7\.2"):
        connect(running).attach("vm", INTERFACE, live=True, config=None)


def test_live_attach_to_a_newer_qemu_without_kvm_is_fine() -> None:
    running = RunningDomain(domain_xml(kind="qemu"))
    assert connect(running, qemu=10_000_000).attach("vm", INTERFACE, live=True, config=None)


WITH_ADDRESS = document.put(domain_xml(kind="kvm"), INTERFACE).replace(
    "</interface>", "<address type='pci' slot='0x07'/></interface>"
)


def test_detach_takes_the_whole_device_away() -> None:
    running = RunningDomain(WITH_ADDRESS)
    assert connect(running).detach("vm", INTERFACE.path, live=None, config=None)
    assert document.interfaces(running.live) == ()
    assert document.interfaces(running.stored) == ()
    assert not connect(running).detach("vm", INTERFACE.path, live=None, config=None)


def test_a_guest_that_does_not_let_go_is_an_error_and_the_definition_stays() -> None:
    running = RunningDomain(WITH_ADDRESS)
    running.releases = False
    with pytest.raises(errors.DomainError, match="does not let go of /run/s/p1"):
        connect(running).detach("vm", INTERFACE.path, live=None, config=None, timeout=0)
    assert document.interfaces(running.stored) == (INTERFACE,)


def test_detach_waits_for_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    running = RunningDomain(WITH_ADDRESS)
    running.releases = False

    def let_go(_seconds: float) -> None:
        running.live = document.take(running.live, INTERFACE.path)

    monkeypatch.setattr("vhost_brick_plugin.libvirt.domain.time.sleep", let_go)
    assert connect(running).detach("vm", INTERFACE.path, live=True, config=None)


# -- ports that come and go with the domain ----------------------------------


def test_attach_tells_the_hook_of_both(running: RunningDomain) -> None:
    connect(running).attach("vm", INTERFACE, live=None, config=None, port=PORT)
    assert running.told == [metadata.element(running.stored)]
    assert metadata.read(running.stored) == (PORT,)


def test_detach_has_the_hook_forget_both() -> None:
    running = RunningDomain(metadata.put(WITH_ADDRESS, PORT))
    (live, stored) = connect(running).detach("vm", INTERFACE.path, live=None, config=None)
    assert running.told == [None]
    assert metadata.read(running.stored) == ()
    assert [
        (c.which, metadata.read(c.before), metadata.read(c.after)) for c in (live, stored)
    ] == [
        (RUNNING, (PORT,), ()),
        (STORED, (PORT,), ()),
    ]


def test_a_port_of_nobodys_is_not_told_to_the_hook(running: RunningDomain) -> None:
    connect(running).attach("vm", INTERFACE, live=None, config=None)
    assert running.told == []


def test_a_dry_run_says_the_same_and_does_nothing() -> None:
    running = RunningDomain(domain_xml(kind="kvm"))
    planned = connect(running).attach(
        "vm", INTERFACE, live=None, config=None, port=PORT, dry_run=True
    )
    assert (running.live, running.stored) == (domain_xml(kind="kvm"),) * 2
    done = connect(running).attach("vm", INTERFACE, live=None, config=None, port=PORT)
    assert planned == done
    assert [change.which for change in planned] == [RUNNING, STORED]

    running = RunningDomain(WITH_ADDRESS)
    planned = connect(running).detach("vm", INTERFACE.path, live=None, config=None, dry_run=True)
    assert (running.live, running.stored, running.flags) == (WITH_ADDRESS, WITH_ADDRESS, [])
    assert [document.interfaces(change.after) for change in planned] == [(), ()]


def test_a_dry_run_refuses_what_would_be_refused() -> None:
    running = RunningDomain(domain_xml(kind="kvm", memory=""))
    with pytest.raises(errors.SharedMemoryMissing):
        connect(running).attach("vm", INTERFACE, live=True, config=None, dry_run=True)


def test_domains_that_run_are_known_by_their_uuid(hypervisor: Hypervisor) -> None:
    domain = hypervisor._connection.defineXML(domain_xml())
    assert UUID not in hypervisor.running()
    domain.create()
    assert UUID in hypervisor.running()
