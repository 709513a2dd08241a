# SPDX-License-Identifier: Apache-2.0
"""The control socket: connections, framing, answers.  Knows no method.

Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.api import wire
from vhost_brick_plugin.daemon import peer
from vhost_brick_plugin.daemon.lines import LineReader
from vhost_brick_plugin.daemon.settings import KEEP, Access
from vhost_brick_plugin.daemon.stream import Stream

LOG = logging.getLogger(__name__)

NEW_SUFFIX = ".new"
"""Of the name under which the socket is made."""

MAX_CONNECTIONS = 256
BACKLOG = 128
PATIENCE_S = 10.0
"""A client may take so long for its request, and to read its answer."""

Handler = Callable[[peer.Peer, wire.Request], Awaitable[Any]]
"""Returns the result as JSON, or a Stream to go on with; raises VhostBrickError."""


def listen(path: str, access: Access) -> socket.socket:
    """Return a listening socket at *path*, in place of a stale one.

    It appears at *path* in one step, with owner, group and mode.  The caller
    holds the lock on *path*, so nobody else listens there.

    :raises errors.ConfigError: that is not possible.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path + NEW_SUFFIX
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        sock.bind(fresh)
        _grant(fresh, access)
        sock.listen(BACKLOG)
        os.rename(fresh, path)
    except OSError as e:
        sock.close()
        raise _cannot_make(path, e) from e
    return sock


def resume(sock: socket.socket, path: str, access: Access) -> socket.socket:
    """Return *sock*, which another daemon listened on at *path*; a new one if *path* is gone.

    As for :func:`listen`, the caller holds the lock, so the path leads nowhere else.
    """
    try:
        _grant(path, access)
    except FileNotFoundError:
        return listen(path, access)
    except OSError as e:
        raise _cannot_make(path, e) from e
    return sock


def _grant(path: str, access: Access) -> None:
    os.chown(path, KEEP, access.gid)
    os.chmod(path, access.mode)


def _cannot_make(path: str, error: OSError) -> errors.ConfigError:
    return errors.ConfigError(
        f"cannot make the control socket {path}: {error.strerror}",
        hint="Check [daemon] api_socket and api_socket_group, and the rights on its directory.",
    )


class Server:
    """Serves the control socket.

    :param handler: carries out requests.
    """

    def __init__(
        self,
        path: str,
        handler: Handler,
        patience: float = PATIENCE_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._path = path
        self._handler = handler
        self._patience = patience
        self._max_connections = max_connections
        self._connections: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve the listening *sock*."""
        self._server = await asyncio.start_unix_server(self._connected, sock=sock)

    async def stop(self, *, keep_socket: bool = False) -> None:
        """Accept nothing more, let requests that run finish, close, remove the socket.

        :param keep_socket: somebody else listens on it.
        """
        self._stopping = True
        if self._server is not None:
            self._server.close()
        if not keep_socket:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        _cancel(self._connections - self._busy)
        if self._busy:
            await asyncio.wait(tuple(self._busy), timeout=self._patience)
        _cancel(self._connections)
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = _current_task()
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except OSError:
            # The peer left, or does not read in time: there is nobody to answer.
            LOG.debug("A control connection broke off")
        finally:
            self._connections.discard(task)
            # Not wait_closed(): a peer that does not read must not keep us.
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = LineReader(reader, self._patience)
        problem = await self._converse(lines, reader, writer)
        if problem is None:
            return
        await self._refuse(writer, problem)
        if not isinstance(problem, errors.Overloaded):
            await lines.discard()

    async def _converse(
        self, lines: LineReader, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> errors.VhostBrickError | None:
        """Answer requests until there are no more; return what makes it impossible to go on."""
        try:
            who = self._admit(writer)
            while not self._stopping and (line := await lines.next()) is not None:
                stream = await self._answer(who, line, writer)
                if stream is not None:
                    await _go_on(stream, reader, writer)
                    break
        except errors.VhostBrickError as e:
            return e
        return None

    async def _refuse(self, writer: asyncio.StreamWriter, error: errors.VhostBrickError) -> None:
        LOG.warning("A control connection is ended: %s", error)
        await self._send(writer, wire.encode_error(None, error))
        writer.write_eof()

    def _admit(self, writer: asyncio.StreamWriter) -> peer.Peer:
        """Return who connected; raise an error if they may not."""
        sock = writer.get_extra_info("socket")
        try:
            who = peer.identify(sock)
            peer.check(who, self._path)
        except OSError as e:
            raise errors.NotPermitted(f"cannot tell who connected: {e.strerror}") from e
        if len(self._connections) > self._max_connections:
            raise errors.Overloaded(f"there are {self._max_connections} control connections")
        return who

    async def _answer(
        self, who: peer.Peer, line: bytes, writer: asyncio.StreamWriter
    ) -> Stream | None:
        """Carry out the request in *line* and answer it; return what to go on with."""
        self._busy.add(_current_task())
        try:
            return await self._answer_busy(who, line, writer)
        finally:
            self._busy.discard(_current_task())

    async def _answer_busy(
        self, who: peer.Peer, line: bytes, writer: asyncio.StreamWriter
    ) -> Stream | None:
        try:
            request = wire.decode_request(line)
            result = await self._call(who, request)
        except errors.VhostBrickError as e:
            LOG.debug("Request of %s refused: %s", who, e)
            await self._send(writer, wire.encode_error(wire.request_id(line), e))
            return None
        if not isinstance(result, Stream):
            await self._send(writer, wire.encode_result(request.id, result))
            return None
        try:
            answer = codec.to_json(result.answer)
            await self._send(writer, wire.encode_result(request.id, answer))
        except BaseException:
            await result.end()
            raise
        return result

    async def _call(self, who: peer.Peer, request: wire.Request) -> Any:
        try:
            return await self._handler(who, request)
        except errors.VhostBrickError:
            raise
        except Exception as e:
            LOG.exception("Unexpected error in %s of %s", request.method, who)
            raise errors.VhostBrickError(f"{request.method}: {type(e).__name__}: {e}") from e

    async def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        writer.write(line)
        async with asyncio.timeout(self._patience):
            await writer.drain()


def _current_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None, "called from a coroutine"
    return task


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


async def _go_on(
    stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send what *stream* has until it ends, or the other end leaves.

    :raises errors.VhostBrickError: what ended it, for the other end to know.
    """
    sending = asyncio.create_task(stream.send(writer))
    leaving = asyncio.create_task(_until_end(reader))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        leaving.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
        await stream.end()
    if not sending.cancelled():
        sending.result()


async def _until_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass
