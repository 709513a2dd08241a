# SPDX-License-Identifier: Apache-2.0
"""Put an interface into the text of a domain document, or take one out.

Pure functions on text.  Only the interface in question is rewritten; every
other byte of the document (quotes, comments, indentation, elements we have
never heard of) stays as it was, so that a diff shows what was asked for.
That is why places are found by expat, which tells byte offsets.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from xml.parsers import expat

from lxml import etree

from vhost_brick_plugin import errors
from vhost_brick_plugin.libvirt import xml
from vhost_brick_plugin.libvirt.xml import Interface

_INDENT_STEP = "  "
_TAG = re.compile(rb"""<(?:"[^"]*"|'[^']*'|[^"'>])*>""")


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
    span = _layout(data).interfaces[index]
    start, end = span.start, span.end
    if (indent := _indent(data, start)) is not None and data[end : end + 1] in (b"\n", b"\r", b""):
        start = max(0, start - len(indent) - 1)  # The whole line goes, its newline included.
        if start and data[start - 1 : start + 1] == b"\r\n":
            start -= 1
    return (data[:start] + data[end:]).decode()


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
    span = _layout(data).interfaces[index]
    indent = (_indent(data, span.start) or b"").decode()
    return (data[: span.start] + xml.to_text(new, indent).encode() + data[span.end :]).decode()


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
    layout = _layout(data)
    if layout.interfaces:
        return _insert_after(data, layout.interfaces[-1], element)
    if layout.devices is not None:
        return _insert_into(data, "devices", layout.devices, element)
    devices = etree.Element("devices")
    devices.append(element)
    return _insert_into(data, "domain", layout.domain, devices)


def _insert_after(data: bytes, sibling: _Span, element: etree._Element) -> str:
    indent = _indent(data, sibling.start)
    text = xml.to_text(element, (indent or b"").decode()).encode()
    gap = b"" if indent is None else b"\n" + indent
    return (data[: sibling.end] + gap + text + data[sibling.end :]).decode()


def _insert_into(data: bytes, name: str, parent: _Span, element: etree._Element) -> str:
    """Return *data* with *element* as the last child of *parent*, on lines of its own."""
    outer = (_indent(data, parent.start) or b"").decode()
    inner = outer + _INDENT_STEP
    text = f"{inner}{xml.to_text(element, inner)}\n"
    if parent.close is None:  # <devices/>
        tag = data[parent.start : parent.end].removesuffix(b"/>").rstrip().decode() + ">"
        new, start, end = f"{tag}\n{text}{outer}</{name}>", parent.start, parent.end
    elif (indent := _indent(data, parent.close)) is not None:
        new, start = text, parent.close - len(indent)
        end = start
    else:
        new, start, end = f"\n{text}{outer}", parent.close, parent.close
    return (data[:start] + new.encode() + data[end:]).decode()


# -- where things are --------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Span:
    """The byte offsets of an element.

    :ivar close: of its end tag; None where it has none, as in ``<devices/>``.
    """

    start: int
    close: int | None
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    domain: _Span
    devices: _Span | None
    interfaces: tuple[_Span, ...]


def _layout(data: bytes) -> _Layout:
    """Find the elements that matter in a document that is known to be well-formed."""
    parser = expat.ParserCreate("utf-8")
    open_tags: list[tuple[str, int]] = []
    found: dict[str, list[_Span]] = {
        "domain": [],
        "domain/devices": [],
        "domain/devices/interface": [],
    }

    def start(name: str, _attributes: object) -> None:
        open_tags.append((name, parser.CurrentByteIndex))

    def end(_name: str) -> None:
        path = "/".join(name for name, _ in open_tags)
        _, begin = open_tags.pop()
        if path in found:
            found[path].append(_span(data, begin, parser.CurrentByteIndex))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.Parse(data, True)
    devices = found["domain/devices"]
    return _Layout(
        domain=found["domain"][0],
        devices=devices[0] if devices else None,
        interfaces=tuple(found["domain/devices/interface"]),
    )


def _span(data: bytes, start: int, close: int) -> _Span:
    tag = _TAG.match(data, start)
    assert tag is not None
    if tag.group().endswith(b"/>"):
        return _Span(start, None, tag.end())
    return _Span(start, close, data.index(b">", close) + 1)


def _indent(data: bytes, start: int) -> bytes | None:
    """Return the white space in front of *start* on its line; None if there is more than that."""
    line = data[data.rfind(b"\n", 0, start) + 1 : start]
    return line if not line.strip() else None
