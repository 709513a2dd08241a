# SPDX-License-Identifier: Apache-2.0
"""How one fake datapath follows another one, in another process.

One datagram a port, with its sessions and, as a file descriptor, its listening
socket; another one whenever they change.  The first one of all brings a page of
shared memory, in which the leader's heart beats.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import mmap
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping

from vhost_brick_plugin import codec
from vhost_brick_plugin.model import Session

BEAT_S = 0.05
_TIME = struct.Struct("=q")
_MESSAGE_MAX = 65536
_PATIENCE_S = 2.0


@dataclasses.dataclass(slots=True)
class Known:
    """What a standby knows of a port."""

    sessions: tuple[Session, ...]
    listener: socket.socket | None

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()


class Leader:
    """Tells a standby; *fd* is the socket to it."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.settimeout(_PATIENCE_S)
        self._stopped = threading.Event()
        self._synced = False
        memory = os.memfd_create("heart")
        os.ftruncate(memory, mmap.PAGESIZE)
        self._heart = mmap.mmap(memory, mmap.PAGESIZE)
        self._beat()
        self._send({"hello": True}, memory)
        os.close(memory)
        threading.Thread(target=self._live, name="heart", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the standby is there and has been told everything."""
        if not self._synced or self._stopped.is_set():
            return False
        poller = select.poll()
        poller.register(self._socket, 0)
        return not poller.poll(0)

    def tell(self, port: str, sessions: Iterable[Session], listener: socket.socket | None) -> None:
        """Tell what *port* has now."""
        message = {"port": port, "sessions": codec.to_json(tuple(sessions))}
        self._send(message, listener.fileno() if listener else None)

    def tell_gone(self, port: str) -> None:
        """Tell that *port* is no more."""
        self._send({"gone": port}, None)

    def tell_all(self) -> None:
        """Tell that everything has been told."""
        self._synced = True
        self._send({"synced": True}, None)

    def stop(self) -> None:
        """Tell nothing more."""
        self._stopped.set()
        self._socket.close()

    def _send(self, message: Mapping[str, object], fd: int | None) -> None:
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], [fd] if fd else [])
        except OSError:
            self._stopped.set()

    def _live(self) -> None:
        while not self._stopped.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        self._heart[: _TIME.size] = _TIME.pack(time.monotonic_ns())


class Follower:
    """Is told; *fd* is the socket to the leader."""

    def __init__(self, fd: int) -> None:
        self._ports: dict[str, Known] = {}
        self._told_all = False
        self._socket = socket.socket(fileno=fd)
        self._socket.settimeout(None)
        self._heart: mmap.mmap | None = None
        self._thread = threading.Thread(target=self._listen, name="follower", daemon=True)
        self._thread.start()

    @property
    def in_sync(self) -> bool:
        return self._told_all and self._thread.is_alive()

    @property
    def silence_s(self) -> float | None:
        """Seconds since the leader's heart beat; None: there is no leader."""
        if not self._thread.is_alive() or self._heart is None:
            return None
        beat: int = _TIME.unpack(self._heart[: _TIME.size])[0]
        return max(0, time.monotonic_ns() - beat) / 1e9

    @property
    def sessions(self) -> int:
        return sum(len(known.sessions) for known in tuple(self._ports.values()))

    def stop(self) -> dict[str, Known]:
        """Listen no more; return what is known, which is the caller's now."""
        with contextlib.suppress(OSError):
            # What has been said before is still read.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        ports, self._ports = self._ports, {}
        return ports

    def forget(self) -> None:
        """Listen no more, and close all that came."""
        for known in self.stop().values():
            known.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while self._take():
                pass

    def _take(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._socket, _MESSAGE_MAX, 1)
        if not data:
            return False
        message = json.loads(data)
        if "hello" in message:
            self._heart = mmap.mmap(fds[0], mmap.PAGESIZE, prot=mmap.PROT_READ)
            os.close(fds[0])
        elif "port" in message:
            sessions = codec.from_json(tuple[Session, ...], message["sessions"])
            listener = socket.socket(fileno=fds[0]) if fds else None
            self._set(message["port"], Known(sessions, listener))
        elif "gone" in message:
            self._set(message["gone"], None)
        elif "synced" in message:
            self._told_all = True
        return True

    def _set(self, port: str, known: Known | None) -> None:
        old = self._ports.pop(port, None)
        if old is not None:
            old.close()
        if known is not None:
            self._ports[port] = known
