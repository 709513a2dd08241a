# SPDX-License-Identifier: Apache-2.0
"""What a frame is, told from its first bytes."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from vhost_brick_plugin.cli.frames import summary

HEAD = 96
ETHER = Ether(src="52:54:00:00:00:01", dst="ff:ff:ff:ff:ff:ff")
MACS = "52:54:00:00:00:01 > ff:ff:ff:ff:ff:ff"
IP4 = IP(src="192.0.2.1", dst="192.0.2.7")
IP6 = IPv6(src="2001:db8::1", dst="2001:db8::7")
IP4_WORDS, IP6_WORDS = "IPv4 192.0.2.1 > 192.0.2.7", "IPv6 2001:db8::1 > 2001:db8::7"
QUESTION = ARP(op=1, psrc="192.0.2.1", pdst="192.0.2.7")
ANSWER = ARP(op=2, hwsrc="52:54:00:00:00:01", psrc="192.0.2.1")
SOLICITATION = ICMPv6ND_NS(tgt="2001:db8::7")

FRAMES: list[tuple[Packet, str]] = [
    (QUESTION, "ARP who-has 192.0.2.7 tell 192.0.2.1"),
    (ANSWER, "ARP 192.0.2.1 is-at 52:54:00:00:00:01"),
    (ARP(op=9), "ARP operation 9"),
    (ARP(ptype=0x86DD, psrc="192.0.2.1", pdst="192.0.2.1"), "ARP of no Ethernet and IPv4"),
    (Dot1Q(vlan=5) / QUESTION, "VLAN 5  ARP who-has 192.0.2.7 tell 192.0.2.1"),
    (Dot1AD(vlan=7) / Dot1Q(vlan=5) / IP4 / UDP(), f"VLAN 7  VLAN 5  {IP4_WORDS}  UDP 53 > 53"),
    (IP4 / UDP(sport=68, dport=67), f"{IP4_WORDS}  UDP 68 > 67"),
    (IP4 / TCP(sport=40000, dport=80, flags="SA"), f"{IP4_WORDS}  TCP 40000 > 80 SYN ACK"),
    (IP(src=IP4.src, dst=IP4.dst, options=b"\1" * 8) / UDP(), f"{IP4_WORDS}  UDP 53 > 53"),
    (IP4 / ICMP(type=8), f"{IP4_WORDS}  ICMP echo request"),
    (IP4 / ICMP(type=42, code=1), f"{IP4_WORDS}  ICMP type 42 code 1"),
    (IP(src=IP4.src, dst=IP4.dst, proto=89), f"{IP4_WORDS}  OSPF"),
    (IP(src=IP4.src, dst=IP4.dst, proto=253), f"{IP4_WORDS}  protocol 253"),
    (
        IP(src=IP4.src, dst=IP4.dst, proto=17, frag=9) / Raw(b"x" * 40),
        f"{IP4_WORDS}  UDP, a later fragment",
    ),
    (IP6 / UDP(sport=1, dport=2), f"{IP6_WORDS}  UDP 1 > 2"),
    (IP6 / ICMPv6EchoRequest(), f"{IP6_WORDS}  ICMPv6 echo request"),
    (IP6 / SOLICITATION, f"{IP6_WORDS}  ICMPv6 neighbour solicitation 2001:db8::7"),
    (IP6 / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2), f"{IP6_WORDS}  UDP 1 > 2"),
    (IP6 / IPv6ExtHdrFragment(offset=0) / UDP(sport=1, dport=2), f"{IP6_WORDS}  UDP 1 > 2"),
    (
        IP6 / IPv6ExtHdrFragment(offset=7, nh=17) / Raw(b"x" * 40),
        f"{IP6_WORDS}  UDP, a later fragment",
    ),
]


@pytest.mark.parametrize(("packet", "words"), FRAMES, ids=[words for _, words in FRAMES])
def test_a_frame_in_words(packet: Packet, words: str) -> None:
    assert summary(bytes(ETHER / packet)[:HEAD]) == f"{MACS}  {words}"


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        (0x88B5, b"x", "type 0x88b5"),
        (0x0026, b"\x42\x42\x03", "802.3"),
        (0x8035, bytes(18) + bytes.fromhex("525400000002"), "RARP 52:54:00:00:00:02"),
        (0x0800, b"\x44" + bytes(30), "IPv4, malformed"),
        (0x0800, b"\x65" + bytes(30), "IPv4, malformed"),
        (0x86DD, b"\x45" + bytes(60), "IPv6, malformed"),
        (0x0800, b"\x45", "(cut short)"),
        (0x8100, b"", "(cut short)"),
    ],
)
def test_what_is_no_proper_packet(kind: int, payload: bytes, words: str) -> None:
    assert summary(bytes(ETHER)[:12] + kind.to_bytes(2) + payload) == f"{MACS}  {words}"


def test_a_header_of_which_half_is_there_tells_what_came_before_it() -> None:
    frame = bytes(ETHER / IP4 / UDP())
    assert summary(frame[:36]) == f"{MACS}  {IP4_WORDS}  (cut short)"
    assert summary(frame[:13]) == summary(b"") == "(cut short)"


def test_any_bytes_are_taken() -> None:
    """Nothing but printable ASCII comes out: a guest's bytes go to a terminal."""
    rng = random.Random(1)
    heads = [bytes(ETHER / packet)[:HEAD] for packet, _ in FRAMES]
    for _ in range(20_000):
        head = bytearray(rng.choice(heads))
        for _ in range(rng.randrange(4)):
            head[rng.randrange(len(head))] = rng.randrange(256)
        for frame in (bytes(head[: rng.randrange(HEAD + 1)]), rng.randbytes(rng.randrange(HEAD))):
            words = summary(frame)
            assert words.isascii()
            assert words.isprintable()
            assert len(words) < 400
