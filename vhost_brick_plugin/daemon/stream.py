# SPDX-License-Identifier: Apache-2.0
"""What follows an answer on its connection, until either end has had enough."""

from __future__ import annotations

import abc
import asyncio
from typing import Any


class Stream(abc.ABC):
    """Returned by a handler in place of a result.  Belongs to the event loop's thread."""

    @property
    @abc.abstractmethod
    def answer(self) -> Any:
        """The result, a dataclass, that is sent before it."""

    @abc.abstractmethod
    async def send(self, writer: asyncio.StreamWriter) -> None:
        """Write until there is no more; cancelled when the other end leaves.

        :raises errors.VhostBrickError: it ends before its time; the other end is told why.
        """

    @abc.abstractmethod
    async def end(self) -> None:
        """Let go of everything; called once, whatever happened."""
