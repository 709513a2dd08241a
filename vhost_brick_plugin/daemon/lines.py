# SPDX-License-Identifier: Apache-2.0
"""Requests cut out of a byte stream, with limits on size and time."""

from __future__ import annotations

import asyncio

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import wire

CHUNK = 65536


class LineReader:
    """Reads lines of at most ``wire.MAX_REQUEST`` bytes.

    :param patience: seconds a peer may take for a line, from the end of the one before.
    """

    def __init__(self, reader: asyncio.StreamReader, patience: float) -> None:
        self._reader = reader
        self._patience = patience
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Return the next line without its end; None when the peer has finished.

        :raises errors.RequestTooLarge: a line does not end in time.
        :raises errors.ParseError: the peer finished, or fell silent, within a line.
        """
        try:
            async with asyncio.timeout(self._patience):
                return await self._next()
        except TimeoutError:
            if self._buffer:
                raise errors.ParseError(
                    f"half a request: no end of line within {self._patience:g} s"
                ) from None
            return None

    async def _next(self) -> bytes | None:
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            if seen >= wire.MAX_REQUEST:
                raise errors.RequestTooLarge(f"a request has at most {wire.MAX_REQUEST} bytes")
            chunk = await self._reader.read(CHUNK)
            if not chunk and self._buffer:
                raise errors.ParseError("half a request: the connection ended within a line")
            if not chunk:
                return None
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if end >= wire.MAX_REQUEST:
            raise errors.RequestTooLarge(f"a request has at most {wire.MAX_REQUEST} bytes")
        return line

    async def discard(self) -> None:
        """Read and forget until the peer finishes, within the patience.

        A peer that is still sending could not read an answer: closing on data
        that nobody has read resets the connection.
        """
        self._buffer.clear()
        try:
            async with asyncio.timeout(self._patience):
                while await self._reader.read(CHUNK):
                    pass
        except TimeoutError:
            return
