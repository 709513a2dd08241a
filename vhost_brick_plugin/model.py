# SPDX-License-Identifier: Apache-2.0
"""The nouns: networks, ports, what was offered to a VM, and live sessions.

Plain frozen dataclasses without behaviour beyond checking themselves.  A value
that exists is valid: the constructors raise
:class:`~vhost_brick_plugin.errors.InvalidParams` or a more exact error.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import itertools
import operator
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

MAX_VLAN = 4094
"""IEEE 802.1Q: 4095 is reserved, and 0 is no VLAN at all."""

MAX_VNI = 2**24 - 1
"""RFC 7348 section 5: 24 bits."""

VXLAN_PORT = 4789
"""The UDP port that IANA gave to VXLAN (RFC 7348 section 5)."""

MAX_REMOTES = 1024
"""``VB_REMOTES_MAX`` of the datapath: other hosts of one tunnel."""

MAX_ADDRESS_PAIRS = 128
"""``VB_PAIRS_MAX`` of the datapath: address pairs of one port."""

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
    """What joins a network to the world outside: see ``native/bricks``."""

    TAP = "tap"
    """A kernel interface that the daemon makes."""
    NIC = "nic"
    """A DPDK port that the operator describes under ``[dpdk] nic``."""
    VXLAN = "vxlan"
    """A tunnel to other hosts (RFC 7348)."""


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


def normalise_address(what: str, address: str) -> str:
    """Return *address* in its usual form; raise InvalidParams if it is not that of one host."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise errors.InvalidParams(
            f"{what}: {address!r} is not an IP address", hint="Write 192.0.2.7 or fd00::7"
        ) from None
    # A scope ("%eth0") means something on one host only.
    if parsed.is_multicast or parsed.is_unspecified or "%" in address:
        raise errors.InvalidParams(
            f"{what}: {address} is not the address of a host",
            hint="Give a unicast address without a scope.",
        )
    return str(parsed)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """Where a VXLAN uplink leads.

    :ivar vni: the VXLAN network identifier, 1 to :data:`MAX_VNI`.
    :ivar local: this host's address, IPv4 or IPv6: packets leave from it and arrive at it.
    :ivar remotes: the hosts that have the network too, of the same family, sorted, at most
        :data:`MAX_REMOTES`; from no other host is a packet taken.
    :ivar port: the UDP port, the same on all hosts.
    """

    vni: int
    local: str
    remotes: tuple[str, ...] = ()
    port: int = VXLAN_PORT

    def __post_init__(self) -> None:
        what = f"VXLAN {self.vni}"
        if not 1 <= self.vni <= MAX_VNI:
            raise errors.InvalidParams(
                f"VNI {self.vni} is out of range", hint="Use 1 to 16777215."
            )
        if not 1 <= self.port <= 65535:
            raise errors.InvalidParams(
                f"{what}: UDP port {self.port} is out of range", hint="Use 1 to 65535."
            )
        local = normalise_address(what, self.local)
        remotes = tuple(sorted({normalise_address(what, r) for r in self.remotes}))
        object.__setattr__(self, "local", local)
        object.__setattr__(self, "remotes", remotes)
        if len(remotes) > MAX_REMOTES:
            raise errors.InvalidParams(
                f"{what}: {len(remotes)} remote hosts", hint=f"At most {MAX_REMOTES} are possible."
            )
        family = ipaddress.ip_address(local).version
        for remote in remotes:
            if ipaddress.ip_address(remote).version != family or remote == local:
                raise errors.InvalidParams(
                    f"{what}: {remote} cannot be a remote host of {local}",
                    hint="Name other hosts, by addresses of the same family.",
                )

    @property
    def endpoint(self) -> tuple[int, str, int]:
        """What no two tunnels of a host share; all but the remote hosts."""
        return self.vni, self.local, self.port


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """One connection of a network to the world outside.

    A name is one interface's on the whole host, whatever its kind.

    :ivar name: of a tap: the kernel interface, at most 15 bytes; of a nic: its name under
        ``[dpdk] nic``; of a vxlan: any name, such as ``vxlan-1001``.
    :ivar vlan: null: the network has the whole tap or nic, and all its frames.  Else the
        interface is a trunk that networks share, and this one has the frames of this VLAN,
        1 to :data:`MAX_VLAN`, or the untagged ones (0).
    :ivar tunnel: of a vxlan, and of nothing else.
    """

    kind: UplinkKind
    name: str
    vlan: int | None = None
    tunnel: Tunnel | None = None

    def __post_init__(self) -> None:
        if not _IFNAME.match(self.name) or self.name in (".", ".."):
            raise errors.InvalidParams(
                f"{self.name!r} is not a network interface name",
                hint=f"Use 1 to {MAX_IFNAME} characters without '/', ':' or spaces.",
            )
        if self.vlan is not None and not 0 <= self.vlan <= MAX_VLAN:
            raise errors.InvalidParams(
                f"uplink {self.name}: VLAN {self.vlan} is out of range",
                hint=f"Use 1 to {MAX_VLAN}, 0 for untagged frames, or none for all frames.",
            )
        is_vxlan = self.kind is UplinkKind.VXLAN
        if is_vxlan != (self.tunnel is not None) or (is_vxlan and self.vlan is not None):
            raise errors.InvalidParams(
                f"uplink {self.name} of kind {self.kind}: a tunnel or VLAN is missing or too many",
                hint="A vxlan has a tunnel and no VLAN; a tap or nic may have a VLAN.",
            )

    @property
    def place(self) -> tuple[object, ...]:
        """All of it that cannot change under traffic."""
        return self.kind, self.name, self.vlan, self.tunnel and self.tunnel.endpoint

    def __str__(self) -> str:
        vlan = "" if self.vlan is None else f" VLAN {self.vlan}"
        return f"{self.kind.value} {self.name}{vlan}"

    def clashes(self, other: Uplink) -> bool:
        """Tell whether one host cannot have both."""
        if self.name == other.name:
            shared = self.kind is other.kind and None not in (self.vlan, other.vlan)
            return not shared or self.vlan == other.vlan
        return bool(self.tunnel and other.tunnel and self.tunnel.endpoint == other.tunnel.endpoint)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One L2 broadcast domain: a switch brick and its uplinks.

    :ivar mtu: bytes of payload in an Ethernet frame.
    :ivar implicit: made by the first port that named it, and gone with its last.
    :ivar guarded: a port whose security nobody has set passes nothing.
    """

    name: str
    mtu: int = 1500
    uplinks: tuple[Uplink, ...] = ()
    implicit: bool = False
    guarded: bool = False

    def __post_init__(self) -> None:
        check_name("network", self.name)
        check_mtu(f"network {self.name}", self.mtu)
        for one, other in itertools.combinations(self.uplinks, 2):
            if one.clashes(other):
                raise errors.InvalidParams(
                    f"network {self.name} cannot have both {one} and {other}",
                    hint="Name each uplink once, and each VLAN or VNI of it once.",
                )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AddressPair:
    """Addresses that a guest may send from: Neutron's allowed address pair.

    :ivar mac: the source MAC.
    :ivar ip: the source address or prefix that goes with it, such as ``192.0.2.0/24``;
        null: every one.
    """

    mac: str
    ip: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mac", normalise_mac(self.mac))
        if self.ip is None:
            return
        try:
            network = ipaddress.ip_network(self.ip, strict=False)
            if "%" in self.ip:
                raise ValueError("a scope")
        except ValueError:
            raise errors.InvalidParams(
                f"{self.ip!r} is not an IP address or prefix", hint="Write 192.0.2.7 or fd00::/64"
            ) from None
        object.__setattr__(self, "ip", str(network))


class SecurityMode(enum.StrEnum):
    """What a port lets through."""

    OPEN = "open"
    """Everything."""
    FILTERED = "filtered"
    """From the guest, only what comes from one of its address pairs; to it, everything."""
    CLOSED = "closed"
    """Nothing, either way."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortSecurity:
    """What a port lets through: Neutron's port security and administrative state.

    :ivar allowed: where the mode is *filtered*, and empty elsewhere; sorted.
    """

    mode: SecurityMode
    allowed: tuple[AddressPair, ...] = ()

    def __post_init__(self) -> None:
        pairs = sorted(set(self.allowed), key=lambda pair: (pair.mac, pair.ip or ""))
        object.__setattr__(self, "allowed", tuple(pairs))
        if pairs and self.mode is not SecurityMode.FILTERED:
            raise errors.InvalidParams(
                f"port security '{self.mode}' takes no address pairs",
                hint=f"Set the mode '{SecurityMode.FILTERED}', or leave them out.",
            )
        if len(pairs) > MAX_ADDRESS_PAIRS:
            raise errors.InvalidParams(
                f"{len(pairs)} address pairs for one port",
                hint=f"At most {MAX_ADDRESS_PAIRS} are possible.",
            )


OPEN = PortSecurity(mode=SecurityMode.OPEN)
CLOSED = PortSecurity(mode=SecurityMode.CLOSED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A vhost-user socket on a network.

    :ivar mode: ours, not QEMU's.
    :ivar queues: queue pairs on offer; a VM may use fewer, never more.
    :ivar security: what it lets through; null: nobody has said, see :meth:`admits`.
    :ivar metadata: free text for operators (instance, project ...); no effect on traffic.
    """

    id: str
    network: str
    mode: Mode
    socket_path: str
    mac: str
    mtu: int
    queues: int
    security: PortSecurity | None = None
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
        """Tell whether *other* can be had without closing this port's sessions."""
        return _datapath_part(self) == _datapath_part(other)

    def admits(self, network: Network) -> PortSecurity:
        """Return the security in force while the port is on *network*."""
        return self.security or (CLOSED if network.guarded else OPEN)


_datapath_part = operator.attrgetter(
    *(f.name for f in dataclasses.fields(Port) if f.name not in ("security", "metadata"))
)


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
