# SPDX-License-Identifier: Apache-2.0
"""Which ports of a domain the ``qemu`` hook makes: our element in its ``<metadata>``.

::

    <vhost-brick:ports xmlns:vhost-brick="urn:vhost-brick:domain:1">
      <vhost-brick:port name="web" network="blue" socket="/run/vhost-brick/sockets/web"/>
    </vhost-brick:ports>

It says what the interface on the socket does not say: name and network, and if wanted
``mtu`` and ``queues``.  Mode and MAC are the interface's.  Pure functions.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from lxml import etree

from vhost_brick_plugin import errors, model
from vhost_brick_plugin.libvirt import text, xml

NAMESPACE: Final = "urn:vhost-brick:domain:1"
PREFIX: Final = "vhost-brick"

_PORTS: Final = f"{{{NAMESPACE}}}ports"
_PORT: Final = f"{{{NAMESPACE}}}port"
_NUMBERS: Final = ("mtu", "queues")
_ATTRIBUTES: Final = ("name", "network", "socket", *_NUMBERS)

_IN_DOMAIN: Final = "domain/metadata"
_ELEMENT: Final = f"{_IN_DOMAIN}/{NAMESPACE} ports"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HookPort:
    """A port that exists as long as its domain runs.

    :ivar socket_path: names the interface that it is for.
    :ivar mtu: None: the network's.
    :ivar queues: pairs on offer; None: as many as ``[vhost] max_queues`` says.
    """

    name: str
    network: str
    socket_path: str
    mtu: int | None = None
    queues: int | None = None

    def __post_init__(self) -> None:
        model.check_name("port", self.name)
        model.check_name("network", self.network)
        model.check_socket_path(self.socket_path)


def read(document: str) -> tuple[HookPort, ...]:
    """Return what a domain document says of ports that the hook makes.

    :raises errors.DomainError: it is no XML, or says what cannot be.
    """
    domain = xml.parse(document)
    name = domain.findtext("name") or "?"
    found = domain.find(f"metadata/{_PORTS}")  # libvirt keeps one element of a namespace.
    return () if found is None else tuple(_read(name, e) for e in found.iterfind(_PORT))


def put(document: str, port: HookPort) -> str:
    """Return *document* with *port* in its metadata, in place of one of its name or socket."""
    present = read(document)
    kept = [p for p in present if port.name != p.name and port.socket_path != p.socket_path]
    return document if port in present else _write(document, [*kept, port])


def take(document: str, path: str) -> str:
    """Return *document* without the port on socket *path*; none there is fine too."""
    present = read(document)
    kept = [p for p in present if p.socket_path != path]
    return document if len(kept) == len(present) else _write(document, kept)


def element(document: str) -> str | None:
    """Return our element as libvirt's ``setMetadata`` takes it; None: there is none.

    That is without the namespace, which libvirt puts into it.
    """
    ports = read(document)
    if not ports:
        return None
    built = _build(ports)
    for each in built.iter():
        each.tag = etree.QName(each).localname
    etree.cleanup_namespaces(built)
    return xml.to_text(built)


# -- reading -----------------------------------------------------------------


def _read(domain: str, found: etree._Element) -> HookPort:
    where = f"domain {domain}: port {found.get('name', '?')} in its metadata"
    hint = f"Correct it with: virsh edit {domain}"
    for name in found.attrib:
        if name not in _ATTRIBUTES:
            raise errors.DomainError(f"{where}: there is no attribute {name!s}", hint=hint)
    for name in ("name", "network", "socket"):
        if found.get(name) is None:
            raise errors.DomainError(f"{where}: the attribute {name} is missing", hint=hint)
    try:
        return HookPort(
            name=found.get("name", ""),
            network=found.get("network", ""),
            socket_path=found.get("socket", ""),
            **{name: _number(found, name) for name in _NUMBERS},
        )
    except (errors.InvalidParams, errors.InvalidSocketPath) as error:
        raise errors.DomainError(f"{where}: {error.message}", hint=hint) from None


def _number(found: etree._Element, name: str) -> int | None:
    value = found.get(name)
    if value is not None and not value.isdecimal():
        raise errors.InvalidParams(f"{name} is {value!r}, which is no number")
    return None if value is None else int(value)


# -- writing -----------------------------------------------------------------


def _build(ports: list[HookPort] | tuple[HookPort, ...]) -> etree._Element:
    root = etree.Element(_PORTS, nsmap={PREFIX: NAMESPACE})
    for port in ports:
        made = etree.SubElement(root, _PORT, name=port.name, network=port.network)
        made.set("socket", port.socket_path)
        for name in _NUMBERS:
            if (value := getattr(port, name)) is not None:
                made.set(name, str(value))
    return root


def _write(document: str, ports: list[HookPort]) -> str:
    data = document.encode()
    found = text.spans(data, "domain", "domain/name", "domain/uuid", _IN_DOMAIN, _ELEMENT)
    if not ports:
        new = text.cut(data, found[_IN_DOMAIN if _is_alone(document) else _ELEMENT][0])
    elif found[_ELEMENT]:
        new = text.replace(data, found[_ELEMENT][0], _build(ports))
    elif found[_IN_DOMAIN]:
        new = text.insert_into(data, "metadata", found[_IN_DOMAIN][0], _build(ports))
    else:
        new = _with_metadata(data, found, _build(ports))
    return new.decode()


def _is_alone(document: str) -> bool:
    """Tell whether nothing but our element is in the metadata."""
    found = xml.parse(document).find("metadata")
    return found is not None and len(found) == 1


def _with_metadata(data: bytes, found: text.Found, ports: etree._Element) -> bytes:
    metadata = etree.Element("metadata")
    metadata.append(ports)
    for sibling in (*found["domain/uuid"], *found["domain/name"]):  # Where libvirt has it.
        return text.insert_after(data, sibling, metadata)
    return text.insert_into(data, "domain", found["domain"][0], metadata)
