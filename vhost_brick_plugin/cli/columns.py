# SPDX-License-Identifier: Apache-2.0
"""How values look: text for people, the very value for ``-f json``.

The base class takes a type argument in new versions of cliff, and refuses one in old ones.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from typing import Any

from cliff.columns import FormattableColumn

from vhost_brick_plugin import features
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


class Sessions(FormattableColumn):  # type: ignore[type-arg]
    """Sessions, one a line."""

    def human_readable(self) -> str:
        return "\n".join(map(_session, self._value))


class Uplinks(FormattableColumn):  # type: ignore[type-arg]
    """Uplinks, one a line."""

    def human_readable(self) -> str:
        return "\n".join(map(words.uplink_text, self._value))


class AddressPairs(FormattableColumn):  # type: ignore[type-arg]
    """Address pairs, one a line."""

    def human_readable(self) -> str:
        return "\n".join(map(words.pair_text, self._value))


class Standby(FormattableColumn):  # type: ignore[type-arg]
    """A standby, or null."""

    def human_readable(self) -> str:
        if self._value is None:
            return "none"
        sync = "in sync" if self._value["in_sync"] else "not in sync"
        return f"{_process(self._value)}, {sync} since {_moment(self._value['since'])}"


class TookOver(FormattableColumn):  # type: ignore[type-arg]
    """How a daemon came to serve, or null."""

    def human_readable(self) -> str:
        if self._value is None:
            return "-"
        pid, version = self._value["from_pid"], self._value["from_version"]
        kept, closed = self._value["adopted"], self._value["closed"]
        return (
            f"from {_process({'pid': pid, 'version': version})} at "
            f"{_moment(self._value['time'])}: {kept} sessions kept, {closed} closed"
        )


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
        return f"{self._value:#x} ({', '.join(features.names(self._value))})"


class Life(FormattableColumn):  # type: ignore[type-arg]
    """Happenings, one a line."""

    def human_readable(self) -> str:
        return "\n".join(map(_happening, self._value))


def _happening(value: dict[str, Any]) -> str:
    # A fault's own fields have room of their own, and this is one line.
    words = detail_text(value["detail"], leave_out=("message", "hint"))
    return f"{exact_moment(value['time'])}  {value['what'].replace('_', ' ')}  {words}".rstrip()


def detail_text(detail: Mapping[str, str], leave_out: Container[str] = ()) -> str:
    """Return the *detail* of an event in one line, feature masks by their bits' names."""
    shown = {name: value for name, value in detail.items() if name not in leave_out}
    if "features" in shown:
        shown["features"] = "+".join(features.names(int(shown["features"], 0))) or "none"
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def _session(value: dict[str, Any]) -> str:
    words = {name: str(part) for name, part in value.items()}
    return detail_text(words | {"since": _moment(value["since"])})


def _process(value: dict[str, Any]) -> str:
    return f"process {value['pid'] or 'unknown'}, version {value['version'] or 'unknown'}"


def exact_moment(seconds: float) -> str:
    """Return a time since the epoch as local time with milliseconds."""
    return f"{_moment(seconds)}.{int(seconds * 1000) % 1000:03}"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
