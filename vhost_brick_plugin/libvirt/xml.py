# SPDX-License-Identifier: Apache-2.0
"""``<interface type='vhostuser'>``: build one, read one.  Pure functions.

The rules come from libvirt 9.0 (``virDomainNetDefValidate`` and the schema):

* ``mode`` is QEMU's, the opposite of ours; it is translated in this file only.
* ``<reconnect>`` is refused where QEMU is the server, and needs a time-out.
* ``<mtu>`` passes the schema and then fails when the VM starts, and a
  ``<target>`` names nothing: neither is ever written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from lxml import etree

from vhost_brick_plugin import errors
from vhost_brick_plugin.model import Mode, check_socket_path, normalise_mac

HOST_OFFLOADS: Final = ("csum", "gso", "tso4", "tso6", "ecn", "ufo", "mrg_rxbuf")
"""What the brick may take from the guest, by libvirt's names."""

GUEST_OFFLOADS: Final = ("csum", "tso4", "tso6", "ecn", "ufo")
"""What the guest may take from the brick."""

MIN_RING, MAX_RING = 256, 1024
"""QEMU's VIRTIO_NET_RX_QUEUE_MIN_SIZE and VIRTQUEUE_MAX_SIZE; a power of two between them."""

USER_ALIAS = "ua-"
"""What libvirt wants in front of an alias that is not its own."""

OUR_ELEMENTS: Final = frozenset(
    ("mac", "source", "target", "model", "mtu", "driver", "teaming", "link", "boot")
)
"""What :func:`build` decides; anything else in an interface is somebody else's."""

OUR_DRIVER: Final = frozenset(
    ("name", "queues", "rx_queue_size", "tx_queue_size", "packed", "event_idx")
)
"""The same for the attributes of ``<driver>``."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A vhost-user interface of a domain.  None and empty leave a thing to libvirt.

    :ivar mode: ours, not QEMU's.
    :ivar reconnect_s: seconds between QEMU's tries, where QEMU is the client.
    :ivar queues: queue pairs of the guest; never more than the port offers.
    :ivar packed: packed rings, which do not survive a restart of the brick.
    :ivar host: offloads from guest to brick, on or off by name.
    :ivar guest: offloads from brick to guest.
    :ivar teaming: the lasting half of a bond with a hostdev interface.
    """

    mode: Mode
    path: str
    mac: str | None = None
    reconnect_s: int | None = None
    queues: int | None = None
    rx_queue_size: int | None = None
    tx_queue_size: int | None = None
    packed: bool | None = None
    event_idx: bool | None = None
    host: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    guest: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    alias: str | None = None
    boot_order: int | None = None
    link_up: bool | None = None
    teaming: bool | None = None

    def __post_init__(self) -> None:
        check_socket_path(self.path)
        if self.mac is not None:
            object.__setattr__(self, "mac", normalise_mac(self.mac))
        if self.reconnect_s is not None and self.mode is Mode.CLIENT:
            raise errors.InvalidParams(
                "reconnect has no meaning where QEMU is the server",
                hint="Leave it out: the brick, being the client, reconnects by itself.",
            )
        _check_positive("reconnect", self.reconnect_s)
        _check_positive("queues", self.queues)
        _check_positive("boot order", self.boot_order)
        _check_ring("rx_queue_size", self.rx_queue_size)
        _check_ring("tx_queue_size", self.tx_queue_size)
        _check_names("host offload", self.host, HOST_OFFLOADS)
        _check_names("guest offload", self.guest, GUEST_OFFLOADS)
        if self.alias is not None and not self.alias.startswith(USER_ALIAS):
            raise errors.InvalidParams(
                f"alias {self.alias!r} is refused by libvirt",
                hint=f"Begin it with '{USER_ALIAS}'.",
            )


def merge(new: Interface, old: Interface) -> Interface:
    """Return *new*, completed with what *old* says where *new* says nothing."""
    kept = {
        field.name: getattr(old, field.name)
        for field in dataclasses.fields(Interface)
        if getattr(new, field.name) is None
    }
    if new.mode is Mode.CLIENT:
        kept.pop("reconnect_s", None)
    return dataclasses.replace(
        new, host={**old.host, **new.host}, guest={**old.guest, **new.guest}, **kept
    )


# -- to XML ------------------------------------------------------------------


def build(interface: Interface) -> etree._Element:
    """Return the ``<interface>`` element."""
    element = etree.Element("interface", type="vhostuser")
    if interface.mac is not None:
        etree.SubElement(element, "mac", address=interface.mac)
    _build_source(element, interface)
    etree.SubElement(element, "model", type="virtio")
    _build_driver(element, interface)
    if interface.teaming:
        etree.SubElement(element, "teaming", type="persistent")
    if interface.link_up is not None:
        etree.SubElement(element, "link", state="up" if interface.link_up else "down")
    if interface.boot_order is not None:
        etree.SubElement(element, "boot", order=str(interface.boot_order))
    if interface.alias is not None:
        etree.SubElement(element, "alias", name=interface.alias)
    return element


def to_text(element: etree._Element, indent: str = "") -> str:
    """Return *element* as lines, each but the first indented by *indent* and two a level."""
    etree.indent(element)
    text = etree.tostring(element, encoding="unicode", with_tail=False)
    return text.replace("\n", "\n" + indent)


def _build_source(parent: etree._Element, interface: Interface) -> None:
    source = etree.SubElement(
        parent, "source", type="unix", path=interface.path, mode=interface.mode.peer.value
    )
    if interface.reconnect_s is not None:
        etree.SubElement(source, "reconnect", enabled="yes", timeout=str(interface.reconnect_s))


def _build_driver(parent: etree._Element, interface: Interface) -> None:
    attributes: dict[str, str] = {}
    for name in ("queues", "rx_queue_size", "tx_queue_size"):
        if (number := getattr(interface, name)) is not None:
            attributes[name] = str(number)
    for name in ("event_idx", "packed"):
        if (flag := getattr(interface, name)) is not None:
            attributes[name] = _on_off(flag)
    if not attributes and not interface.host and not interface.guest:
        return
    driver = etree.SubElement(parent, "driver", attributes)
    for name, offloads in (("host", interface.host), ("guest", interface.guest)):
        if offloads:
            etree.SubElement(driver, name, {k: _on_off(v) for k, v in offloads.items()})


def _on_off(flag: bool) -> str:
    return "on" if flag else "off"


# -- from XML ----------------------------------------------------------------


def parse(document: str) -> etree._Element:
    """Return the root of *document*, without following anything it refers to.

    :raises errors.DomainError: it is not XML.
    """
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, no_network=True)
    try:
        return etree.fromstring(document.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise errors.DomainError(
            f"the document is not XML: {error}", hint="Check it with virt-xml-validate."
        ) from None


def is_vhostuser(element: etree._Element) -> bool:
    """Tell whether *element* is an interface of our kind."""
    return element.tag == "interface" and element.get("type") == "vhostuser"


def read(element: etree._Element) -> Interface:
    """Return what an ``<interface type='vhostuser'>`` says of the things we know.

    An alias that libvirt gave itself (in the document of a running domain) and
    ``<target>`` are left out: they are not anybody's wish.

    :raises errors.DomainError: *element* is no such interface, or libvirt would
        refuse it.
    """
    if not is_vhostuser(element):
        raise errors.DomainError(
            "the element is not an interface of type 'vhostuser'",
            hint="'vhost-brick domain interface-xml PORT' prints one.",
        )
    try:
        return _read(element)
    except (ValueError, errors.InvalidParams, errors.InvalidSocketPath) as error:
        message = error.message if isinstance(error, errors.VhostBrickError) else str(error)
        raise errors.DomainError(
            f"vhost-user interface: {message}", hint="Correct it with 'virsh edit'."
        ) from None


def _read(element: etree._Element) -> Interface:
    alias = _attribute(element, "alias", "name")
    link = _attribute(element, "link", "state")
    reconnect = element.find("source/reconnect")
    reconnects = reconnect is not None and reconnect.get("enabled") == "yes"
    return Interface(
        mode=_mode(_attribute(element, "source", "mode")).peer,
        path=_attribute(element, "source", "path") or "",
        mac=_attribute(element, "mac", "address"),
        reconnect_s=_number(element, "source/reconnect", "timeout") if reconnects else None,
        queues=_number(element, "driver", "queues"),
        rx_queue_size=_number(element, "driver", "rx_queue_size"),
        tx_queue_size=_number(element, "driver", "tx_queue_size"),
        packed=_flag(_attribute(element, "driver", "packed")),
        event_idx=_flag(_attribute(element, "driver", "event_idx")),
        host=_offloads(element, "driver/host"),
        guest=_offloads(element, "driver/guest"),
        alias=alias if alias and alias.startswith(USER_ALIAS) else None,
        boot_order=_number(element, "boot", "order"),
        link_up=None if link is None else link == "up",
        teaming=_attribute(element, "teaming", "type") == "persistent" or None,
    )


def _mode(text: str | None) -> Mode:
    """Return QEMU's mode."""
    if text is None:
        raise ValueError("its <source> has no mode")
    try:
        return Mode(text)
    except ValueError:
        raise ValueError(f"there is no mode {text!r}") from None


def _attribute(element: etree._Element, path: str, name: str) -> str | None:
    found = element.find(path)
    return None if found is None else found.get(name)


def _number(element: etree._Element, path: str, name: str) -> int | None:
    text = _attribute(element, path, name)
    return None if text is None else int(text)


def _flag(text: str | None) -> bool | None:
    return None if text is None else text == "on"


def _offloads(element: etree._Element, path: str) -> dict[str, bool]:
    found = element.find(path)
    return {} if found is None else {str(k): v == "on" for k, v in found.items()}


# -- checks ------------------------------------------------------------------


def _check_positive(what: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise errors.InvalidParams(f"{what} is {number}", hint="Use a number of at least 1.")


def _check_ring(what: str, size: int | None) -> None:
    if size is not None and (not MIN_RING <= size <= MAX_RING or size & (size - 1)):
        raise errors.InvalidParams(
            f"{what} is {size}", hint="QEMU takes 256, 512 or 1024 descriptors."
        )


def _check_names(what: str, flags: Mapping[str, bool], known: tuple[str, ...]) -> None:
    for name in flags:
        if name not in known:
            raise errors.InvalidParams(
                f"there is no {what} {name!r}", hint="Use one of " + ", ".join(known) + "."
            )
