# SPDX-License-Identifier: Apache-2.0
"""Datagrams for ``guest/keeper.c``: each has a number, and contents that follow from it."""

import struct

PORT = 5000

SIZE = 1200
"""Bytes of payload: too many for Linux to copy them out of the card's buffer."""

_STEPS = bytes(i * 13 & 0xFF for i in range(SIZE))
_ADD = [bytes((byte + n) & 0xFF for byte in range(256)) for n in range(256)]

_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_UDP = struct.Struct(">HHHH")


def payload(number: int) -> bytes:
    seed = number * 167 + (number >> 8) * 59
    return number.to_bytes(8, "big") + _STEPS.translate(_ADD[seed & 0xFF])[8:]


def headers(dst_mac: bytes, src_mac: bytes, dst_ip: bytes, src_ip: bytes) -> bytes:
    """Return what comes before every payload of this way.

    UDP's checksum is left out: the guest's kernel would look at contents that keeper
    is to look at, and throw bad ones away.
    """
    length = _IPV4.size + _UDP.size + SIZE
    ip = _IPV4.pack(0x45, 0, length, 0, 0, 64, 17, 0, src_ip, dst_ip)
    ip = _IPV4.pack(0x45, 0, length, 0, 0, 64, 17, _checksum(ip), src_ip, dst_ip)
    udp = _UDP.pack(PORT, PORT, _UDP.size + SIZE, 0)
    return dst_mac + src_mac + b"\x08\x00" + ip + udp


def _checksum(header: bytes) -> int:
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
