# SPDX-License-Identifier: Apache-2.0
"""Where elements are in the text of a document, and how to add and cut one.

Pure functions on bytes.  Every byte but those of the element in question stays
as it was.  Places are found by expat, which tells byte offsets.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from xml.parsers import expat

from lxml import etree

from vhost_brick_plugin.libvirt import xml

_INDENT_STEP = "  "
_TAG = re.compile(rb"""<(?:"[^"]*"|'[^']*'|[^"'>])*>""")


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """The byte offsets of an element.

    :ivar close: of its end tag; None where it has none, as in ``<devices/>``.
    """

    start: int
    close: int | None
    end: int


Found = Mapping[str, tuple[Span, ...]]
"""Where elements are, by path."""


def spans(data: bytes, *paths: str) -> Found:
    """Return where the elements at each of *paths* are, in the order of the document.

    :param data: a document that is known to be well-formed.
    :param paths: names from the root on, such as ``domain/devices``; one in a namespace
        has its URI and a space in front.
    """
    parser = expat.ParserCreate("utf-8", " ")
    open_tags: list[tuple[str, int]] = []
    found: dict[str, list[Span]] = {path: [] for path in paths}

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
    return {path: tuple(here) for path, here in found.items()}


def replace(data: bytes, span: Span, element: etree._Element) -> bytes:
    """Return *data* with *element* in the place of another one."""
    text = xml.to_text(element, _margin(data, span.start)).encode()
    return data[: span.start] + text + data[span.end :]


def cut(data: bytes, span: Span) -> bytes:
    """Return *data* without an element, and without its line if it had one of its own."""
    start, end = span.start, span.end
    if (indent := _indent(data, start)) is not None and data[end : end + 1] in (b"\n", b"\r", b""):
        start = max(0, start - len(indent) - 1)  # The whole line goes, its newline included.
        if start and data[start - 1 : start + 1] == b"\r\n":
            start -= 1
    return data[:start] + data[end:]


def insert_after(data: bytes, sibling: Span, element: etree._Element) -> bytes:
    """Return *data* with *element* behind *sibling*, on lines of its own if that has such."""
    indent = _indent(data, sibling.start)
    text = xml.to_text(element, (indent or b"").decode()).encode()
    gap = b"" if indent is None else b"\n" + indent
    return data[: sibling.end] + gap + text + data[sibling.end :]


def insert_into(data: bytes, name: str, parent: Span, element: etree._Element) -> bytes:
    """Return *data* with *element* as the last child of *parent*, on lines of its own.

    :param name: the parent's.
    """
    outer = _margin(data, parent.start)
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
    return data[:start] + new.encode() + data[end:]


def _span(data: bytes, start: int, close: int) -> Span:
    tag = _TAG.match(data, start)
    assert tag is not None
    if tag.group().endswith(b"/>"):
        return Span(start, None, tag.end())
    return Span(start, close, data.index(b">", close) + 1)


def _indent(data: bytes, start: int) -> bytes | None:
    """Return the white space in front of *start* on its line; None if there is more than that."""
    line = data[data.rfind(b"\n", 0, start) + 1 : start]
    return line if not line.strip() else None


def _margin(data: bytes, start: int) -> str:
    return (_indent(data, start) or b"").decode()
