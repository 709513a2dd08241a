# SPDX-License-Identifier: Apache-2.0
"""What is wrong, or unwise, in a domain document with our interfaces.  Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lxml import etree

from vhost_brick_plugin import errors
from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.finding import Finding, fail, ok, warn
from vhost_brick_plugin.libvirt import xml
from vhost_brick_plugin.libvirt.xml import Interface
from vhost_brick_plugin.model import Mode

QEMU_NS: Final = "{http://libvirt.org/schemas/domain/qemu/1.0}"

FIRST_SAFE_TCG_QEMU: Final = (10, 0)
"""QEMU before this crashes in msix_set_vector_notifiers with vhost-user under TCG."""

TCG_VECTORS: Final = "tcg_vectors"
"""The check that foretells that crash."""

NOVA_NS: Final = "{http://openstack.org/xmlns/libvirt/nova/1.1}"

_MEMFD: Final = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"


# -- shared memory -----------------------------------------------------------


def check_shared_memory(document: str) -> None:
    """Make sure that the brick will be able to map all memory of the guest.

    libvirt takes the access mode of a NUMA cell from its ``memAccess``, else
    from ``<memoryBacking>``; a DIMM's from its ``access``, else from its cell.

    :raises errors.SharedMemoryMissing: with the change that mends it as hint.
    """
    domain = xml.parse(document)
    name = domain.findtext("name") or "?"
    default = _default_access(domain)
    nova_hint = _nova_hint(domain)
    cells = domain.findall("cpu/numa/cell")
    for number, cell in enumerate(cells):
        if cell.get("memAccess", default) != "shared":
            raise _not_shared(
                f"memory of domain {name}, NUMA cell {cell.get('id', number)}, is not shared",
                nova_hint or _cell_hint(cell, number),
            )
    if not cells and default != "shared":
        raise _not_shared(
            f"memory of domain {name} is not shared", nova_hint or _domain_hint(domain)
        )
    for module in domain.findall("devices/memory"):
        if module.get("model") in ("dimm", "virtio-mem") and module.get("access") == "private":
            raise _not_shared(
                f"a {module.get('model')} of domain {name} is not shared",
                "Give its <memory> device access='shared'.",
            )


def shared_memory(document: str) -> Finding:
    """Return the outcome of :func:`check_shared_memory` as a finding."""
    try:
        check_shared_memory(document)
    except errors.SharedMemoryMissing as error:
        return fail("shared_memory", error.message, error.hint)
    return ok("shared_memory", "guest memory is shared")


def _default_access(domain: etree._Element) -> str | None:
    access = domain.find("memoryBacking/access")
    return None if access is None else access.get("mode")


def _not_shared(message: str, hint: str) -> errors.SharedMemoryMissing:
    return errors.SharedMemoryMissing(f"{message}: the brick cannot reach it", hint=hint)


def _cell_hint(cell: etree._Element, number: int) -> str:
    return f"Give <cell id='{cell.get('id', number)}'> the attribute memAccess='shared'."


def _nova_hint(domain: etree._Element) -> str | None:
    """Nova writes the document anew at each boot: only its flavor or nova.conf helps."""
    flavor = domain.find(f"metadata/{NOVA_NS}instance/{NOVA_NS}flavor")
    if flavor is None:
        return None
    return (
        f"Flavor {flavor.get('name')} lacks hw:mem_page_size=large: resize the instance to one "
        "that has it, or set [libvirt] file_backed_memory in nova.conf and reboot it hard."
    )


def _domain_hint(domain: etree._Element) -> str:
    backing = domain.find("memoryBacking")
    if backing is None:
        return f"Add to <domain>: {_MEMFD}"
    if backing.find("access") is not None:
        return "Change its <memoryBacking> to <access mode='shared'/>."
    if _has_backing(domain):
        return "Add to its <memoryBacking>: <access mode='shared'/>"
    return "Add to its <memoryBacking>: <source type='memfd'/><access mode='shared'/>"


def _has_backing(domain: etree._Element) -> bool:
    """Tell whether memory comes from hugepages, a memfd or a file on purpose."""
    source = domain.find("memoryBacking/source")
    kind = None if source is None else source.get("type")
    return domain.find("memoryBacking/hugepages") is not None or kind in ("memfd", "file")


# -- advice ------------------------------------------------------------------


def advise(document: str, qemu: tuple[int, int] | None = None) -> tuple[Finding, ...]:
    """Return what an operator should know of a domain document before it runs.

    :param qemu: major and minor version of QEMU, if known.
    :raises errors.DomainError: it is not valid in a way that libvirt refuses too.
    """
    domain = xml.parse(document)
    found = list(_about_memory(domain))
    for element in domain.findall("devices/interface"):
        if xml.is_vhostuser(element):
            found += _about_element(element)
            found += _about_interface(xml.read(element))
            found += _about_tcg(domain, element, qemu)
    return tuple(found)


def _about_memory(domain: etree._Element) -> Iterator[Finding]:
    accesses = [_default_access(domain)]
    accesses += [cell.get("memAccess") for cell in domain.findall("cpu/numa/cell")]
    if "shared" in accesses and not _has_backing(domain):
        yield warn(
            "memory_on_disk",
            "guest memory is shared, but of no kind: libvirt puts it into a file on disk",
            "Add to <memoryBacking>: <source type='memfd'/>, or <hugepages/>.",
        )


def _about_element(element: etree._Element) -> Iterator[Finding]:
    if element.find("mtu") is not None:
        yield fail(
            "mtu_element",
            "a vhost-user interface with <mtu> cannot start: libvirt wants to set the MTU "
            "of a host device that does not exist",
            "Take <mtu> out; the guest gets its MTU by DHCP, or is set up with it.",
        )


def _about_interface(interface: Interface) -> Iterator[Finding]:
    if interface.mode is Mode.SERVER and interface.reconnect_s is None:
        yield warn(
            "no_reconnect",
            f"{interface.path}: QEMU is the client and will not reconnect: the interface "
            "is dead after the first restart of vhost-brickd",
            "Add to its <source>: <reconnect enabled='yes' timeout='1'/>, or make the port "
            "with --mode client.",
        )
    if interface.packed:
        yield warn(
            "packed_ring",
            f"{interface.path}: packed rings do not survive a restart of vhost-brickd",
            "Take packed='on' out of its <driver>.",
        )


def _about_tcg(
    domain: etree._Element, element: etree._Element, qemu: tuple[int, int] | None
) -> Iterator[Finding]:
    if domain.get("type") != "qemu" or qemu is None or qemu >= FIRST_SAFE_TCG_QEMU:
        return
    if "pci=nomsi" in domain.findtext("os/cmdline", "").split():
        return
    alias = element.find("alias")
    if alias is None or not _vectors_are_off(domain, alias.get("name")):
        path, version = xml.read(element).path, f"{qemu[0]}.{qemu[1]}"
        yield warn(
            TCG_VECTORS,
            f"{path}: QEMU {version} without KVM crashes when the guest uses MSI-X on this "
            "interface",
            "Boot a Linux guest with pci=nomsi, set the interface's property vectors=0 by "
            "<qemu:override>, or use KVM or QEMU 10.",
        )


def _vectors_are_off(domain: etree._Element, alias: str | None) -> bool:
    for device in domain.iter(f"{QEMU_NS}device"):
        if device.get("alias") == alias:
            for prop in device.iter(f"{QEMU_NS}property"):
                if (prop.get("name"), prop.get("value")) == ("vectors", "0"):
                    return True
    return False


# -- against the daemon ------------------------------------------------------


def compare(interface: Interface, status: PortStatus | None) -> tuple[Finding, ...]:
    """Return where an interface of a domain does not fit its port.

    :param status: the port with the interface's socket path; None if there is none.
    """
    if status is None:
        text = f"{interface.path}: no port has this socket; QEMU waits for it when it starts"
        if interface.mode is Mode.SERVER:
            text = f"{interface.path}: no port has this socket; the domain cannot start"
        fix = f"vhost-brick port create NAME --network NET --socket {interface.path}"
        return (fail("port_missing", text, f"{fix} --mode {interface.mode}"),)
    return tuple(_differences(interface, status))


def _differences(interface: Interface, status: PortStatus) -> Iterator[Finding]:
    port, offer = status.port, status.offer
    if interface.mode is not port.mode:
        both = "listen" if port.mode is Mode.SERVER else "connect"
        yield fail(
            "mode_mismatch",
            f"port {port.id}: brick and QEMU both {both} on {port.socket_path}",
            f"Write mode='{port.mode.peer}' in the interface's <source>, or make the port with "
            f"--mode {interface.mode}.",
        )
    if (interface.queues or 1) > offer.queues:
        yield fail(
            "too_many_queues",
            f"port {port.id} offers {offer.queues} queue pairs, the interface wants "
            f"{interface.queues}: QEMU hangs at its start",
            f"Write queues='{offer.queues}' in its <driver>, or create the port with more.",
        )
    if interface.mac is not None and interface.mac != port.mac:
        yield warn(
            "mac_mismatch",
            f"port {port.id} has the MAC {port.mac}, its interface {interface.mac}",
            f"vhost-brick port create {port.id} --network {port.network} --mac {interface.mac}",
        )
