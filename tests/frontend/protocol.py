# SPDX-License-Identifier: Apache-2.0
"""vhost-user messages, driver side: each message is one method.

What goes over the socket and nothing else; ``docs/interop/vhost-user.rst`` of
QEMU is the text to compare with.  :meth:`Connection.send_raw` sends anything,
well formed or not.
"""

from __future__ import annotations

import array
import dataclasses
import enum
import os
import socket
import struct
from collections.abc import Sequence

HEADER = struct.Struct("<III")
"""Request, flags, payload size."""

VERSION = 0x1
REPLY = 0x4
NEED_REPLY = 0x8

LOG_RING = 1
"""In the flags of SET_VRING_ADDR: writes to the used ring are logged, at its log address."""

LOG_PAGE = 4096
"""Bytes of guest memory for each bit of the log."""

NO_FD = 1 << 8
"""In the payload of SET_VRING_KICK and its like: no descriptor comes with it."""

MAX_FDS = 8


class Request(enum.IntEnum):
    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SEND_RARP = 19
    NET_SET_MTU = 20
    SET_SLAVE_REQ_FD = 21
    IOTLB_MSG = 22
    SET_VRING_ENDIAN = 23
    GET_CONFIG = 24
    SET_CONFIG = 25
    CREATE_CRYPTO_SESSION = 26
    CLOSE_CRYPTO_SESSION = 27
    POSTCOPY_ADVISE = 28
    POSTCOPY_LISTEN = 29
    POSTCOPY_END = 30
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    GPU_SET_SOCKET = 33
    RESET_DEVICE = 34
    VRING_KICK = 35
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40
    GET_SHARED_OBJECT = 41
    SET_DEVICE_STATE_FD = 42
    CHECK_DEVICE_STATE = 43


class Feature(enum.IntFlag):
    """Virtio feature bits that the tests use."""

    CSUM = 1 << 0
    GUEST_CSUM = 1 << 1
    CTRL_GUEST_OFFLOADS = 1 << 2
    MTU = 1 << 3
    GUEST_TSO4 = 1 << 7
    GUEST_TSO6 = 1 << 8
    HOST_TSO4 = 1 << 11
    HOST_TSO6 = 1 << 12
    HOST_ECN = 1 << 13
    HOST_UFO = 1 << 14
    MRG_RXBUF = 1 << 15
    GUEST_ANNOUNCE = 1 << 21
    MQ = 1 << 22
    LOG_ALL = 1 << 26
    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    PROTOCOL_FEATURES = 1 << 30
    VERSION_1 = 1 << 32
    IN_ORDER = 1 << 35
    RING_PACKED = 1 << 34


class ProtocolFeature(enum.IntFlag):
    MQ = 1 << 0
    LOG_SHMFD = 1 << 1
    RARP = 1 << 2
    REPLY_ACK = 1 << 3
    MTU = 1 << 4


class ProtocolError(Exception):
    """The backend broke the protocol, refused a request, or went away."""


class Disconnected(ProtocolError):
    """The backend closed the connection or died."""


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """One piece of guest memory."""

    guest_address: int
    size: int
    user_address: int
    offset: int
    fd: int

    def pack(self) -> bytes:
        return struct.pack("<QQQQ", self.guest_address, self.size, self.user_address, self.offset)


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    request: int
    flags: int
    payload: bytes


class Connection:
    """A connected socket to a backend.

    :ivar reply_ack: REPLY_ACK was negotiated: every request is then confirmed,
        so that a method returns when the backend has done what it was told.
    """

    def __init__(self, sock: socket.socket, timeout: float = 10.0) -> None:
        self.sock = sock
        self.sock.settimeout(timeout)
        self.reply_ack = False

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # -- carrying messages ---------------------------------------------------

    def send_raw(
        self,
        request: int,
        payload: bytes = b"",
        fds: Sequence[int] = (),
        *,
        flags: int = VERSION,
        size: int | None = None,
    ) -> None:
        """Send one message as it is.

        :param size: what the header claims, if not the payload's true size.
        """
        header = HEADER.pack(request, flags, len(payload) if size is None else size)
        self.send_bytes(header + payload, fds)

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send bytes that need not be a message."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            sent = self.sock.sendmsg([data], rights)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Disconnected(str(e)) from e

    def receive(self) -> Message:
        """Return the next message from the backend; descriptors in it are closed."""
        request, flags, size = HEADER.unpack(self._read(HEADER.size))
        return Message(request, flags, self._read(size) if size else b"")

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                chunk, fds, _, _ = socket.recv_fds(self.sock, size - len(data), MAX_FDS)
            except ConnectionResetError as e:
                raise Disconnected(str(e)) from e
            for fd in fds:
                os.close(fd)
            if not chunk:
                raise Disconnected("the backend closed the connection")
            data += chunk
        return data

    def ask(self, request: Request, payload: bytes = b"") -> bytes:
        """Send a request that has an answer and return the answer's payload."""
        self.send_raw(request, payload)
        return self._answer(request)

    def tell(self, request: Request, payload: bytes = b"", fds: Sequence[int] = ()) -> None:
        """Send a request that has none; wait for its confirmation where agreed."""
        if not self.reply_ack:
            self.send_raw(request, payload, fds)
            return
        self.send_raw(request, payload, fds, flags=VERSION | NEED_REPLY)
        (status,) = struct.unpack("<Q", self._answer(request))
        if status:
            raise ProtocolError(f"{request.name} was refused with {status}")

    def _answer(self, request: Request) -> bytes:
        message = self.receive()
        if message.request != request or not message.flags & REPLY:
            raise ProtocolError(f"{request.name} was answered by {message}")
        return message.payload

    def _ask_u64(self, request: Request) -> int:
        (value,) = struct.unpack("<Q", self.ask(request))
        return int(value)

    def _tell_u64(self, request: Request, value: int) -> None:
        self.tell(request, struct.pack("<Q", value))

    def _tell_state(self, request: Request, index: int, number: int) -> None:
        self.tell(request, struct.pack("<II", index, number))

    def _tell_fd(self, request: Request, index: int, fd: int | None) -> None:
        value = index if fd is not None else index | NO_FD
        self.tell(request, struct.pack("<Q", value), [] if fd is None else [fd])

    # -- the messages --------------------------------------------------------

    def get_features(self) -> Feature:
        return Feature(self._ask_u64(Request.GET_FEATURES))

    def set_features(self, features: int) -> None:
        self._tell_u64(Request.SET_FEATURES, features)

    def get_protocol_features(self) -> ProtocolFeature:
        return ProtocolFeature(self._ask_u64(Request.GET_PROTOCOL_FEATURES))

    def set_protocol_features(self, features: int) -> None:
        """Accept *features*; with REPLY_ACK among them, later requests are confirmed."""
        self._tell_u64(Request.SET_PROTOCOL_FEATURES, features)
        self.reply_ack = bool(features & ProtocolFeature.REPLY_ACK)

    def get_queue_num(self) -> int:
        """Return how many queue pairs the backend has."""
        return self._ask_u64(Request.GET_QUEUE_NUM)

    def set_owner(self) -> None:
        self.tell(Request.SET_OWNER)

    def set_mem_table(self, regions: Sequence[Region]) -> None:
        payload = struct.pack("<II", len(regions), 0) + b"".join(r.pack() for r in regions)
        self.tell(Request.SET_MEM_TABLE, payload, [r.fd for r in regions])

    def set_log_base(self, size: int, fd: int) -> None:
        """Hand over a log of written pages, *size* bytes; the backend answers when it has it."""
        self.send_raw(Request.SET_LOG_BASE, struct.pack("<QQ", size, 0), [fd])
        self._answer(Request.SET_LOG_BASE)

    def set_vring_num(self, index: int, size: int) -> None:
        self._tell_state(Request.SET_VRING_NUM, index, size)

    def set_vring_base(self, index: int, base: int) -> None:
        self._tell_state(Request.SET_VRING_BASE, index, base)

    def set_vring_addr(
        self, index: int, descriptors: int, used: int, avail: int, log: int = 0, flags: int = 0
    ) -> None:
        """Tell where a ring is, in user addresses."""
        payload = struct.pack("<IIQQQQ", index, flags, descriptors, used, avail, log)
        self.tell(Request.SET_VRING_ADDR, payload)

    def set_vring_kick(self, index: int, fd: int | None) -> None:
        self._tell_fd(Request.SET_VRING_KICK, index, fd)

    def set_vring_call(self, index: int, fd: int | None) -> None:
        self._tell_fd(Request.SET_VRING_CALL, index, fd)

    def set_vring_err(self, index: int, fd: int | None) -> None:
        self._tell_fd(Request.SET_VRING_ERR, index, fd)

    def set_vring_enable(self, index: int, enable: bool) -> None:
        self._tell_state(Request.SET_VRING_ENABLE, index, int(enable))

    def get_vring_base(self, index: int) -> int:
        """Stop a ring and return how far the backend has taken its available part."""
        answer = self.ask(Request.GET_VRING_BASE, struct.pack("<II", index, 0))
        _, base = struct.unpack("<II", answer)
        return int(base)

    def net_set_mtu(self, mtu: int) -> None:
        self._tell_u64(Request.NET_SET_MTU, mtu)

    def send_rarp(self, mac: bytes) -> None:
        self.tell(Request.SEND_RARP, mac.ljust(8, b"\0"))
