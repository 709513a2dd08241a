# SPDX-License-Identifier: Apache-2.0
"""A vhost-user frontend in Python: one VM's network device, as QEMU drives it.

Negotiates in QEMU's order, keeps its rings over a backend's death and refuses
a backend that comes back with less than it promised, as QEMU does::

    with Frontend("/run/x.sock", listen=True, queues=2) as vm:
        vm.connect()
        vm.send(frame)
        answer = vm.receive(timeout=1)
        ...                       # kill the backend, start it again
        vm.wait_disconnect()
        vm.connect()

Slow and obedient where ``vuser`` is fast; for behaviour, for hundreds of ports
at once and, by :attr:`Frontend.connection` and :attr:`Pair.rx` /
:attr:`Pair.tx`, for everything an honest driver would not do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.frontend.protocol import (
    Connection,
    Disconnected,
    Feature,
    ProtocolError,
    ProtocolFeature,
    Region,
)
from tests.frontend.ring import GUEST_BASE, NEXT, USER_BASE, WRITE, GuestMemory, SplitRing

NET_HEADER = struct.Struct("<BBHHHHH")
"""virtio_net_hdr_mrg_rxbuf; the last field is num_buffers."""

BUFFER = 2048
"""Bytes of each buffer, header included; longer frames take several."""

WANTED = Feature.PROTOCOL_FEATURES | Feature.VERSION_1 | Feature.MRG_RXBUF
WANTED_PROTOCOL = ProtocolFeature.MQ | ProtocolFeature.REPLY_ACK

RETRY = 0.005
"""Seconds between attempts to connect."""


class NetHeader(NamedTuple):
    """What a driver or a device says of a frame: :data:`NET_HEADER`."""

    flags: int = 0
    gso_type: int = 0
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0
    num_buffers: int = 0


PLAIN = NetHeader()


class Frame(bytes):
    """A frame that came, and the header that came with it."""

    header: NetHeader


class FeaturesShrunk(ProtocolError):
    """The backend came back without a feature that is in use: QEMU refuses it."""


class TooFewQueues(ProtocolError):
    """The backend has fewer queue pairs than the VM was started with."""


@dataclasses.dataclass(slots=True)
class Pair:
    """A queue pair: receive and transmit ring, and their eventfds."""

    rx: SplitRing
    tx: SplitRing
    rx_buffers: int
    tx_buffers: int
    rx_kick: int
    rx_call: int
    tx_kick: int
    tx_call: int
    tx_free: list[int]

    def fds(self) -> tuple[int, ...]:
        return self.rx_kick, self.rx_call, self.tx_kick, self.tx_call


def _eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


class Frontend:
    """One device and its connection.

    :param path: of the vhost-user socket.
    :param listen: this side makes the socket, as QEMU does for Nova.
    :param queues: queue pairs.
    :param features: what to accept where the backend offers it.
    :param stock: the receive rings are full of buffers from the start.
    :param sealed: the memory cannot shrink.
    :ivar connection_class: how messages are carried.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        listen: bool = False,
        queues: int = 1,
        ring_size: int = 256,
        features: int = WANTED,
        timeout: float = 10.0,
        stock: bool = True,
        sealed: bool = True,
    ) -> None:
        self.path = str(path)
        self.timeout = timeout
        self.wanted = features | (Feature.MQ if queues > 1 else 0)
        self.acked = Feature(0)
        self.connection: Connection | None = None
        self.connection_class = Connection
        self.received: deque[Frame] = deque()
        buffers = ring_size * BUFFER
        rings = SplitRing.bytes_needed(ring_size)
        self.memory = GuestMemory(queues * 2 * (buffers + rings), sealed)
        self.pairs = [self._new_pair(ring_size) for _ in range(queues)]
        if stock:
            for pair in self.pairs:
                self.stock(pair)
        self._listener = self._listen() if listen else None

    def __enter__(self) -> Frontend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the connection ------------------------------------------------------

    def connect(self, timeout: float | None = None) -> None:
        """Meet the backend, negotiate and start the rings: the first time or again.

        :raises TimeoutError: no backend came, or none listens.
        :raises FeaturesShrunk: as QEMU, see the class.
        """
        self.open(timeout)
        try:
            self.negotiate()
            self.start()
        except BaseException:
            self.disconnect()
            raise

    def open(self, timeout: float | None = None) -> Connection:
        """Connect or accept, without a word of the protocol."""
        self.disconnect()
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        sock = self._accept(deadline) if self._listener else self._connect(deadline)
        self.connection = self.connection_class(sock, self.timeout)
        return self.connection

    def negotiate(self) -> None:
        """Agree on features and queues, as QEMU's ``vhost_net_init`` does."""
        c = self.peer
        offered = c.get_features()
        if offered & Feature.PROTOCOL_FEATURES:
            c.set_protocol_features(c.get_protocol_features() & WANTED_PROTOCOL)
            self._check_queues(c)
        c.set_owner()
        if missing := self.acked & ~offered:
            raise FeaturesShrunk(f"{missing!r} was offered before and is not now")
        self.acked = offered & self.wanted

    def start(self) -> None:
        """Hand over memory and rings, as QEMU's ``vhost_net_start`` does."""
        c = self.peer
        self.enable(len(self.pairs))
        c.set_features(self.acked)
        c.set_mem_table(self.regions())
        for i, pair in enumerate(self.pairs):
            self._start_ring(2 * i, pair.rx, pair.rx_kick, pair.rx_call)
            self._start_ring(2 * i + 1, pair.tx, pair.tx_kick, pair.tx_call)
        for pair in self.pairs:
            os.eventfd_write(pair.rx_kick, 1)
            os.eventfd_write(pair.tx_kick, 1)

    def regions(self) -> list[Region]:
        """Return the memory table."""
        return [self.memory.region()]

    def enable(self, pairs: int) -> None:
        """Enable the first *pairs* queue pairs, disable the rest."""
        if self.acked & Feature.PROTOCOL_FEATURES:
            for i in range(2 * len(self.pairs)):
                self.peer.set_vring_enable(i, i // 2 < pairs)

    def stop(self) -> None:
        """Stop the rings as a VM's shutdown or reboot does; :meth:`start` works again.

        The base that comes back needs no keeping: every buffer taken from a
        ring was also returned, so the used index says the same.
        """
        self.enable(0)
        for i in range(2 * len(self.pairs)):
            self.peer.get_vring_base(i)

    def disconnect(self) -> None:
        """Drop the connection without a word, as a VM that is killed; rings stay."""
        if self.connection:
            self.connection.close()
            self.connection = None

    def wait_disconnect(self, timeout: float | None = None) -> None:
        """Wait until the backend has closed the connection or died."""
        poller = select.poll()
        poller.register(self.peer.sock, select.POLLRDHUP)
        if not poller.poll(1000 * (self.timeout if timeout is None else timeout)):
            raise TimeoutError(f"the backend of {self.path} is still connected")
        self.disconnect()

    @property
    def connected(self) -> bool:
        """Whether the backend still holds the connection."""
        if not self.connection:
            return False
        poller = select.poll()
        poller.register(self.connection.sock, select.POLLRDHUP)
        return not poller.poll(0)

    @property
    def peer(self) -> Connection:
        """The connection, which must be there."""
        if not self.connection:
            raise Disconnected(f"{self.path} is not connected")
        return self.connection

    def close(self) -> None:
        """End the device in good order and free everything."""
        with contextlib.suppress(ProtocolError, OSError):
            if self.connection:
                self.stop()
        self.kill(leave_socket=False)

    def kill(self, leave_socket: bool = True) -> None:
        """End it as SIGKILL would: no word to the backend, a listener's socket stays."""
        self.disconnect()
        if self._listener:
            self._listener.close()
            self._listener = None
            if not leave_socket:
                Path(self.path).unlink(missing_ok=True)
        for pair in self.pairs:
            for fd in pair.fds():
                os.close(fd)
        if self.pairs:
            self.memory.close()
        self.pairs = []

    # -- frames --------------------------------------------------------------

    def stock(self, pair: Pair) -> None:
        """Fill an empty receive ring with buffers."""
        for i in range(pair.rx.size):
            address = GUEST_BASE + pair.rx_buffers + i * BUFFER
            pair.rx.write_descriptor(i, address, BUFFER, WRITE)
            pair.rx.make_available(i)

    def send(
        self, frame: bytes, queue: int = 0, timeout: float = 5.0, header: NetHeader = PLAIN
    ) -> None:
        """Hand *frame* to the backend; waits while the ring is full."""
        pair = self.pairs[queue]
        data = NET_HEADER.pack(*header) + frame
        count = -(-len(data) // BUFFER)
        deadline = time.monotonic() + timeout
        while len(self._reclaim(pair)) < count:
            self._wait_call([pair.tx_call], deadline)
        heads = [pair.tx_free.pop() for _ in range(count)]
        for i, head in enumerate(heads):
            self._fill(pair, head, data[i * BUFFER : (i + 1) * BUFFER], heads[i + 1 : i + 2])
        pair.tx.make_available(heads[0])
        if pair.tx.wants_kick:
            os.eventfd_write(pair.tx_kick, 1)

    def receive(self, timeout: float = 5.0) -> Frame:
        """Return the next frame from any queue.

        :raises TimeoutError: none came.
        """
        deadline = time.monotonic() + timeout
        while not self.received:
            self._collect()
            if not self.received:
                self._wait_call([p.rx_call for p in self.pairs], deadline)
        return self.received.popleft()

    def receive_all(self) -> list[Frame]:
        """Return the frames that are there now."""
        self._collect()
        frames = list(self.received)
        self.received.clear()
        return frames

    def tx_done(self) -> bool:
        """Whether the backend has taken everything that was sent."""
        return all(len(self._reclaim(p)) == p.tx.size for p in self.pairs)

    # -- inside --------------------------------------------------------------

    def _new_pair(self, size: int) -> Pair:
        rx, tx = SplitRing(self.memory, size), SplitRing(self.memory, size)
        rx_buffers = self.memory.allocate(size * BUFFER)
        tx_buffers = self.memory.allocate(size * BUFFER)
        fds = (_eventfd(), _eventfd(), _eventfd(), _eventfd())
        return Pair(rx, tx, rx_buffers, tx_buffers, *fds, tx_free=list(range(size)))

    def _listen(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        Path(self.path).unlink(missing_ok=True)
        sock.bind(self.path)
        sock.listen(1)
        return sock

    def _accept(self, deadline: float) -> socket.socket:
        assert self._listener
        self._listener.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            return self._listener.accept()[0]
        except TimeoutError:
            raise TimeoutError(f"no backend came to {self.path}") from None

    def _connect(self, deadline: float) -> socket.socket:
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(self.path)
                return sock
            except (FileNotFoundError, ConnectionRefusedError) as e:
                sock.close()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nobody listens on {self.path}: {e}") from None
                time.sleep(RETRY)

    def _check_queues(self, c: Connection) -> None:
        there = c.get_queue_num()
        if len(self.pairs) > there:
            raise TooFewQueues(f"{len(self.pairs)} queue pairs wanted, {there} there")

    def _start_ring(self, index: int, ring: SplitRing, kick: int, call: int) -> None:
        c = self.peer
        c.set_vring_num(index, ring.size)
        # What the last backend took but did not return is offered again.
        c.set_vring_base(index, ring.used_index)
        c.set_vring_addr(
            index, USER_BASE + ring.descriptors, USER_BASE + ring.used, USER_BASE + ring.avail
        )
        c.set_vring_call(index, call)
        c.set_vring_kick(index, kick)

    def _fill(self, pair: Pair, index: int, chunk: bytes, next: list[int]) -> None:
        offset = pair.tx_buffers + index * BUFFER
        self.memory.bytes[offset : offset + len(chunk)] = chunk
        pair.tx.write_descriptor(
            index, GUEST_BASE + offset, len(chunk), NEXT if next else 0, next[0] if next else 0
        )

    def _reclaim(self, pair: Pair) -> list[int]:
        """Return the free transmit descriptors, with those the backend is done with."""
        while pair.tx.used_count():
            index, _ = pair.tx.take_used()
            while True:
                _, _, flags, next = pair.tx.read_descriptor(index)
                pair.tx_free.append(index)
                if not flags & NEXT:
                    break
                index = next
        return pair.tx_free

    def _collect(self) -> None:
        for pair in self.pairs:
            self.received.extend(self._take_frames(pair))

    def _take_frames(self, pair: Pair) -> Iterator[Frame]:
        """Take whole frames off the receive ring and offer their buffers again."""
        taken = False
        while (ready := pair.rx.used_count()) and ready >= (count := self._buffers(pair)):
            data = b"".join(self._take_buffer(pair) for _ in range(count))
            taken = True
            frame = Frame(data[NET_HEADER.size :])
            frame.header = NetHeader(*NET_HEADER.unpack_from(data))
            yield frame
        if taken and pair.rx.wants_kick:
            os.eventfd_write(pair.rx_kick, 1)

    def _buffers(self, pair: Pair) -> int:
        """Return how many buffers the next frame takes."""
        if not self.acked & Feature.MRG_RXBUF:
            return 1
        head, _ = pair.rx.peek_used()
        header = NET_HEADER.unpack_from(self.memory.bytes, pair.rx_buffers + head * BUFFER)
        if not header[-1]:
            raise ProtocolError("the backend wrote a frame of no buffers")
        return int(header[-1])

    def _take_buffer(self, pair: Pair) -> bytes:
        head, length = pair.rx.take_used()
        offset = pair.rx_buffers + head * BUFFER
        data = bytes(self.memory.bytes[offset : offset + length])
        pair.rx.make_available(head)
        return data

    def _wait_call(self, fds: list[int], deadline: float) -> None:
        """Wait for a call of the backend on one of *fds*."""
        poller = select.poll()
        for fd in fds:
            poller.register(fd, select.POLLIN)
        ready = poller.poll(max(0, 1000 * (deadline - time.monotonic())))
        if not ready:
            raise TimeoutError(f"no call from the backend of {self.path}")
        for fd, _ in ready:
            os.eventfd_read(fd)
