# SPDX-License-Identifier: Apache-2.0
"""Put an interface into the text of a domain document, or take one out.

Pure functions on text.  Only the interface in question is rewritten; every
other byte of the document (quotes, comments, indentation, elements we have
never heard of) stays as it was, so that a diff shows what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from vhost_brick_plugin import errors
from vhost_brick_plugin.libvirt import text, xml
from vhost_brick_plugin.libvirt.xml import Interface

_DEVICES = "domain/devices"
_INTERFACE = f"{_DEVICES}/interface"


def interfaces(document: str) -> tuple[Interface, ...]:
    """Return the vhost-user interfaces of a domain document, in its order.

    :raises errors.DomainError: it is not a domain document, or one of them is
        not valid.
    """
    return tuple(xml.read(e) for e in _elements(document) if xml.is_vhostuser(e))


def put(document: str, interface: Interface) -> str:
    """Return *document* with *interface* in it; once more changes nothing.

    An interface with the same socket path, or else with the same MAC, is
    replaced in its place.  It keeps what *interface* does not speak of,
    foremost its PCI address, which the guest has built a device name on.

    :raises errors.DomainError: it is not a domain document, or an interface of
        another type has the MAC.
    """
    index = _find(document, lambda e: _path(e) == interface.path)
    if index is None and interface.mac is not None:
        index = _find(document, lambda e: _mac(e) == interface.mac)
    if index is None:
        return _insert(document, xml.build(interface))
    return _replace(document, index, interface)


def take(document: str, path: str) -> str:
    """Return *document* without the interface on socket *path*; none there is fine too.

    :raises errors.DomainError: it is not a domain document.
    """
    index = _find(document, lambda e: _path(e) == path)
    if index is None:
        return document
    data = document.encode()
    return text.cut(data, _spans(data)[index]).decode()


def element_at(document: str, path: str) -> etree._Element | None:
    """Return the interface element on socket *path*, with all that it says, or None."""
    index = _find(document, lambda e: _path(e) == path)
    return None if index is None else _elements(document)[index]


# -- what is in it -----------------------------------------------------------


def _elements(document: str) -> list[etree._Element]:
    root = xml.parse(document)
    if root.tag != "domain":
        raise errors.DomainError(
            f"the document is a <{root.tag!s}>, not a <domain>",
            hint="'virsh dumpxml --inactive DOMAIN' prints a domain document.",
        )
    return root.findall("devices/interface")


def _find(document: str, wanted: Callable[[etree._Element], bool]) -> int | None:
    return next((i for i, e in enumerate(_elements(document)) if wanted(e)), None)


def _path(element: etree._Element) -> str | None:
    source = element.find("source")
    return source.get("path") if source is not None and xml.is_vhostuser(element) else None


def _mac(element: etree._Element) -> str | None:
    mac = element.find("mac")
    return None if mac is None else mac.get("address", "").lower()


# -- changing the text -------------------------------------------------------


def _replace(document: str, index: int, interface: Interface) -> str:
    old = _elements(document)[index]
    if not xml.is_vhostuser(old):
        raise errors.DomainError(
            f"an interface of type {old.get('type', '')!r} has the MAC {_mac(old)} already",
            hint="Take it out of the domain first, or give the port another MAC.",
        )
    before = xml.read(old)
    wanted = xml.merge(interface, before)
    if wanted == before and not _has_unwanted(old):
        return document
    new = xml.build(wanted)
    _keep_foreign(old, new)
    data = document.encode()
    return text.replace(data, _spans(data)[index], new).decode()


def _spans(data: bytes) -> tuple[text.Span, ...]:
    return text.spans(data, _INTERFACE)[_INTERFACE]


def _has_unwanted(element: etree._Element) -> bool:
    """Tell whether *element* has something with which the domain would not start."""
    return element.find("mtu") is not None


def _keep_foreign(old: etree._Element, new: etree._Element) -> None:
    """Carry over from *old* what :class:`Interface` does not describe."""
    old_driver, new_driver = old.find("driver"), new.find("driver")
    if old_driver is not None:
        foreign = {k: v for k, v in old_driver.items() if k not in xml.OUR_DRIVER}
        if foreign and new_driver is None:
            new_driver = etree.SubElement(new, "driver")
        for name, value in foreign.items():
            assert new_driver is not None
            new_driver.set(name, value)
    for child in list(old):
        ours = child.tag in xml.OUR_ELEMENTS
        if child.tag == "alias":  # Either a user's, which Interface has, or libvirt's own.
            ours = (child.get("name") or "").startswith(xml.USER_ALIAS)
        if not ours:
            new.append(child)


def _insert(document: str, element: etree._Element) -> str:
    data = document.encode()
    found = text.spans(data, "domain", _DEVICES, _INTERFACE)
    if found[_INTERFACE]:
        return text.insert_after(data, found[_INTERFACE][-1], element).decode()
    if found[_DEVICES]:
        return text.insert_into(data, "devices", found[_DEVICES][0], element).decode()
    devices = etree.Element("devices")
    devices.append(element)
    return text.insert_into(data, "domain", found["domain"][0], devices).decode()
