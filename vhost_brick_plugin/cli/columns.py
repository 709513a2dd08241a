# SPDX-License-Identifier: Apache-2.0
"""How values look: text for people, the very value for ``-f json``.

The base class takes a type argument in new versions of cliff, and refuses one in old ones.
"""

from __future__ import annotations

from cliff.columns import FormattableColumn

from vhost_brick_plugin.cli import words


class Pairs(FormattableColumn):  # type: ignore[type-arg]
    """An object of plain values."""

    def human_readable(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self._value.items())


class Words(FormattableColumn):  # type: ignore[type-arg]
    """A list of plain values."""

    def human_readable(self) -> str:
        return ", ".join(str(v) for v in self._value)


class Records(FormattableColumn):  # type: ignore[type-arg]
    """A list of objects, one a line."""

    def human_readable(self) -> str:
        return "\n".join(
            ", ".join(f"{k}={v}" for k, v in record.items()) for record in self._value
        )


class Uplinks(FormattableColumn):  # type: ignore[type-arg]
    """Uplinks, one a line."""

    def human_readable(self) -> str:
        return "\n".join(map(words.uplink_text, self._value))


class AddressPairs(FormattableColumn):  # type: ignore[type-arg]
    """Address pairs, one a line."""

    def human_readable(self) -> str:
        return "\n".join(map(words.pair_text, self._value))


class Maybe(FormattableColumn):  # type: ignore[type-arg]
    """A value that may be missing: ``-`` for people, null for scripts."""

    def human_readable(self) -> str:
        return "-" if self._value is None else str(self._value)


class Seconds(FormattableColumn):  # type: ignore[type-arg]
    """A length of time."""

    def human_readable(self) -> str:
        seconds = int(self._value)
        days, rest = divmod(seconds, 86400)
        clock = f"{rest // 3600}:{rest % 3600 // 60:02}:{rest % 60:02}"
        return f"{days} d {clock}" if days else clock


class Bits(FormattableColumn):  # type: ignore[type-arg]
    """A feature mask."""

    def human_readable(self) -> str:
        return f"{self._value:#x}"
