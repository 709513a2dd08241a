# SPDX-License-Identifier: Apache-2.0
"""What a frame is, in a few words, out of its first bytes.

For one line on a terminal: who to whom, and what.  Guests send what they like, so any bytes
are taken, and what they stop short of is not told.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterator

Words = Iterator[str]

VLANS = (0x8100, 0x88A8)
LENGTHS = 0x600
"""EtherTypes below are none, but the length of what follows."""

IP6_OPTIONS = (0, 43, 60)
"""Hop by hop, routing, destination: they have their length in their second byte."""
IP6_FRAGMENT = 44

TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")

ICMP = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
ICMP6 = {
    1: "unreachable",
    2: "packet too big",
    3: "time exceeded",
    128: "echo request",
    129: "echo reply",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    137: "redirect",
}
WITH_TARGET = (135, 136)


def summary(head: bytes) -> str:
    """Return what the frame that begins with *head* is."""
    words = []
    try:
        for word in _ethernet(head):
            words.append(word)
    except struct.error:
        words.append("(cut short)")
    return "  ".join(words)


def _ethernet(frame: bytes) -> Words:
    destination, source, kind = struct.unpack_from("!6s6sH", frame)
    yield f"{_mac(source)} > {_mac(destination)}"
    rest = frame[14:]
    while kind in VLANS:
        tag, kind = struct.unpack_from("!HH", rest)
        yield f"VLAN {tag & 0xFFF}"
        rest = rest[4:]
    if kind in PAYLOADS:
        yield from PAYLOADS[kind](rest)
    else:
        yield f"type {kind:#06x}" if kind >= LENGTHS else "802.3"


def _arp(data: bytes) -> Words:
    *form, what, sender, sender_ip, _, target_ip = struct.unpack_from("!HHBBH6s4s6s4s", data)
    if form != [1, 0x800, 6, 4]:
        yield "ARP of no Ethernet and IPv4"
    elif what == 1:
        yield f"ARP who-has {_ip(target_ip)} tell {_ip(sender_ip)}"
    elif what == 2:
        yield f"ARP {_ip(sender_ip)} is-at {_mac(sender)}"
    else:
        yield f"ARP operation {what}"


def _rarp(data: bytes) -> Words:
    (target,) = struct.unpack_from("!18x6s", data)
    yield f"RARP {_mac(target)}"


def _ip4(data: bytes) -> Words:
    first, where, protocol, source, destination = struct.unpack_from("!B5xHxB2x4s4s", data)
    if first >> 4 != 4 or first & 0xF < 5:
        yield "IPv4, malformed"
        return
    yield f"IPv4 {_ip(source)} > {_ip(destination)}"
    yield from _upper(protocol, data[4 * (first & 0xF) :], where & 0x1FFF)


def _ip6(data: bytes) -> Words:
    first, protocol, source, destination = struct.unpack_from("!B5xBx16s16s", data)
    if first >> 4 != 6:
        yield "IPv6, malformed"
        return
    yield f"IPv6 {_ip(source)} > {_ip(destination)}"
    rest, where = data[40:], 0
    while protocol in (*IP6_OPTIONS, IP6_FRAGMENT) and where == 0:
        following, length, offset = struct.unpack_from("!BBH", rest)
        if protocol == IP6_FRAGMENT:
            length, where = 0, offset >> 3
        protocol, rest = following, rest[8 * (1 + length) :]
    yield from _upper(protocol, rest, where)


def _upper(protocol: int, data: bytes, where: int) -> Words:
    """Tell of the protocol above IP; *where* is the fragment's place, 0 for the first."""
    name, tell = PROTOCOLS.get(protocol, (f"protocol {protocol}", None))
    if where > 0:
        yield f"{name}, a later fragment"
    elif tell is None:
        yield name
    else:
        yield f"{name} {tell(data)}"


def _ports(data: bytes) -> str:
    source, destination = struct.unpack_from("!HH", data)
    return f"{source} > {destination}"


def _tcp(data: bytes) -> str:
    (bits,) = struct.unpack_from("!13xB", data)
    flags = [name for i, name in enumerate(TCP_FLAGS) if bits >> i & 1]
    return " ".join([_ports(data), *flags])


def _icmp(data: bytes) -> str:
    kind, code = struct.unpack_from("!BB", data)
    return ICMP.get(kind, f"type {kind} code {code}")


def _icmp6(data: bytes) -> str:
    kind, code = struct.unpack_from("!BB", data)
    name = ICMP6.get(kind, f"type {kind} code {code}")
    if kind not in WITH_TARGET:
        return name
    (target,) = struct.unpack_from("!8x16s", data)
    return f"{name} {_ip(target)}"


def _mac(octets: bytes) -> str:
    return octets.hex(":")


def _ip(octets: bytes) -> str:
    return str(ipaddress.ip_address(octets))


PAYLOADS: dict[int, Callable[[bytes], Words]] = {
    0x0800: _ip4,
    0x0806: _arp,
    0x8035: _rarp,
    0x86DD: _ip6,
}

PROTOCOLS: dict[int, tuple[str, Callable[[bytes], str] | None]] = {
    1: ("ICMP", _icmp),
    2: ("IGMP", None),
    6: ("TCP", _tcp),
    17: ("UDP", _ports),
    47: ("GRE", None),
    50: ("ESP", None),
    58: ("ICMPv6", _icmp6),
    89: ("OSPF", None),
    112: ("VRRP", None),
    132: ("SCTP", _ports),
}
