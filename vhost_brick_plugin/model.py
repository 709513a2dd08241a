# SPDX-License-Identifier: Apache-2.0
"""The nouns: networks, ports, what was offered to a VM, and live sessions.

Plain frozen dataclasses without behaviour beyond checking themselves.  A value
that exists is valid: the constructors raise
:class:`~vhost_brick_plugin.errors.InvalidParams` or a more exact error.
"""

from __future__ import annotations

import dataclasses
import enum
import os.path
import re
from collections.abc import Mapping

from vhost_brick_plugin import errors

MAX_SOCKET_PATH = 107
"""Bytes in ``sockaddr_un.sun_path`` less the final NUL; DPDK truncates silently beyond it."""

MAX_QUEUE_PAIRS = 64
"""``VB_QUEUES_MAX`` of the datapath, one bit each in a word; rte_vhost itself has 128."""

MIN_MTU, MAX_MTU = 68, 9198
"""virtio 1.1 section 5.1.4.1 for the lower bound; a jumbo frame for the upper."""

MAX_IFNAME = 15
"""IFNAMSIZ less the final NUL."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_IFNAME = re.compile(r"[^\s/:]{1,15}\Z")


class Mode(enum.StrEnum):
    """Who listens on the vhost-user socket, seen from the brick.

    os-vif and libvirt mean QEMU when they say mode, which is the opposite;
    :meth:`peer` is the one place where the two are translated.
    """

    SERVER = "server"
    CLIENT = "client"

    @property
    def peer(self) -> Mode:
        """What QEMU is when we are this: ``Mode(vif_mode).peer`` gives ours."""
        return Mode.CLIENT if self is Mode.SERVER else Mode.SERVER


class UplinkKind(enum.StrEnum):
    """What joins a network to the host: see ``native/bricks``."""

    TAP = "tap"


def check_name(what: str, name: str) -> None:
    """Raise InvalidParams unless *name* can name a port or a network."""
    if not _NAME.match(name):
        raise errors.InvalidParams(
            f"{what} {name!r} is not a valid name",
            hint="Use 1 to 64 letters, digits, '_', '-', '.' or ':', a letter or digit first.",
        )


def check_mtu(what: str, mtu: int) -> None:
    """Raise InvalidParams unless *mtu* (bytes, without the Ethernet header) is in range."""
    if not MIN_MTU <= mtu <= MAX_MTU:
        raise errors.InvalidParams(
            f"{what}: MTU {mtu} is out of range", hint=f"Use {MIN_MTU} to {MAX_MTU}."
        )


def normalise_mac(mac: str) -> str:
    """Return *mac* in lower case with colons; raise InvalidParams if it is not a unicast MAC."""
    text = mac.lower().replace("-", ":")
    if not _MAC.match(text):
        raise errors.InvalidParams(f"{mac!r} is not a MAC address", hint="Write 52:54:00:ab:cd:ef")
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise errors.InvalidParams(
            f"{mac} is not a unicast MAC address",
            hint="The first octet must be even, not all zero.",
        )
    return text


def default_mac(port_id: str) -> str:
    """Return the MAC of a port that asked for none: the same one for the same id."""
    # Its import takes a while, and a daemon that restores ports has no use for it.
    import hashlib

    digest = hashlib.sha256(port_id.encode()).digest()
    return "52:54:00:" + ":".join(f"{b:02x}" for b in digest[:3])


def check_socket_path(path: str) -> None:
    """Raise InvalidSocketPath for what can be told from the text of *path* alone."""
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise errors.InvalidSocketPath(f"socket path {path!r} is not valid text") from None
    if not os.path.isabs(path):
        raise errors.InvalidSocketPath(f"socket path {path!r} is not absolute")
    if "\0" in path or os.path.normpath(path) != path:
        raise errors.InvalidSocketPath(
            f"socket path {path!r} is not in its plain form",
            hint="Leave out '.', '..', double slashes and NUL bytes.",
        )
    if size > MAX_SOCKET_PATH:
        raise errors.InvalidSocketPath(
            f"socket path {path!r} has {size} bytes; the kernel takes {MAX_SOCKET_PATH}"
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """One connection of a network to the host.

    :ivar name: the kernel interface's name, at most 15 bytes.
    """

    kind: UplinkKind
    name: str

    def __post_init__(self) -> None:
        if not _IFNAME.match(self.name) or self.name in (".", ".."):
            raise errors.InvalidParams(
                f"{self.name!r} is not a network interface name",
                hint=f"Use 1 to {MAX_IFNAME} characters without '/', ':' or spaces.",
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One L2 broadcast domain: a switch brick and its uplinks.

    :ivar mtu: bytes of payload in an Ethernet frame.
    :ivar implicit: made by the first port that named it, and gone with its last.
    """

    name: str
    mtu: int = 1500
    uplinks: tuple[Uplink, ...] = ()
    implicit: bool = False

    def __post_init__(self) -> None:
        check_name("network", self.name)
        check_mtu(f"network {self.name}", self.mtu)
        names = [u.name for u in self.uplinks]
        if len(set(names)) != len(names):
            raise errors.InvalidParams(
                f"network {self.name}: an uplink is named twice", hint="Name each uplink once."
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A vhost-user socket on a network.

    :ivar mode: ours, not QEMU's.
    :ivar queues: queue pairs on offer; a VM may use fewer, never more.
    :ivar metadata: free text for operators (instance, project ...); no effect on traffic.
    """

    id: str
    network: str
    mode: Mode
    socket_path: str
    mac: str
    mtu: int
    queues: int
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("port", self.id)
        check_name("network", self.network)
        check_socket_path(self.socket_path)
        check_mtu(f"port {self.id}", self.mtu)
        object.__setattr__(self, "mac", normalise_mac(self.mac))
        if not 1 <= self.queues <= MAX_QUEUE_PAIRS:
            raise errors.TooManyQueues(
                f"port {self.id}: {self.queues} queue pairs asked for, 1 to {MAX_QUEUE_PAIRS} "
                "are possible"
            )

    def same_datapath(self, other: Port) -> bool:
        """Tell whether *other* differs in nothing that a running VM could notice."""
        return self == dataclasses.replace(other, metadata=self.metadata)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a port has offered to its VM: a contract until the port is deleted.

    QEMU refuses a backend that comes back with one feature bit fewer and
    reconnects for ever, so this is stored before the port first listens.

    :ivar features: virtio feature bits (virtio 1.1 section 5.1.3 and 6).
    :ivar queues: queue pairs.
    """

    features: int
    queues: int
    mtu: int


class SessionState(enum.StrEnum):
    """How far a frontend has come."""

    CONNECTED = "connected"
    """The socket is connected; features and rings are being negotiated."""
    RUNNING = "running"
    """Memory is mapped and at least one ring pair works: packets flow."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One connected frontend of a port.

    :ivar number: unique in the daemon's life.
    :ivar features: what the frontend accepted; 0 until it has.
    :ivar queues: queue pairs whose rings are enabled.
    :ivar since: seconds since the epoch when it reached this state.
    """

    number: int
    state: SessionState
    features: int
    queues: int
    since: float
