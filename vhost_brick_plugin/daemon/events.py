# SPDX-License-Identifier: Apache-2.0
"""Datapath events in the API's terms and in an operator's words.  Pure."""

from __future__ import annotations

import logging
from collections.abc import Container

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.datapath import base
from vhost_brick_plugin.report import Fault

INTERFACE_GONE = "interface_gone"
"""The fault of an uplink that is of no more use as it is."""

UNKNOWN_HINT = "See the daemon's log around that time."


def translate(event: base.Event) -> methods.Event:
    """Return *event* as watchers get it."""
    detail = dict(event.detail)
    if event.session:
        detail["session"] = str(event.session)
    return methods.Event(
        time=event.time, kind=event.kind, port=event.port, uplink=event.uplink, detail=detail
    )


def fault_of(event: base.Event) -> Fault:
    """Return the fault that an event of kind ``fault`` tells of."""
    name = event.detail.get("fault", "unknown")
    return Fault(
        name=name,
        message=event.detail.get("message") or name,
        hint=event.detail.get("hint") or UNKNOWN_HINT,
        since=event.time,
    )


def describe(event: base.Event) -> tuple[int, str]:
    """Return the log level and the log line of *event*."""
    who = f"Uplink {event.uplink}" if event.uplink else f"Port {event.port}"
    session = f"session {event.session}"
    match event.kind:
        case "session_connected":
            return logging.INFO, f"{who}: a frontend connected ({session})"
        case "session_adopted":
            return logging.INFO, f"{who}: goes on where the other process stopped ({session})"
        case "session_negotiated":
            features = event.detail.get("features", "?")
            return logging.DEBUG, f"{who}: the frontend accepts features {features} ({session})"
        case "session_running":
            queues, features = event.detail.get("queues", "?"), event.detail.get("features", "?")
            text = f"{who}: packets flow ({session}, {queues} queue pairs, features {features})"
            return logging.INFO, text
        case "session_stopped":
            return logging.INFO, f"{who}: its guest stopped the device ({session})"
        case "session_closed":
            if reason := event.detail.get("reason"):
                text = f"{who}: the connection was ended because of {reason} ({session})"
                return logging.WARNING, text
            return logging.INFO, f"{who}: the frontend went away ({session})"
        case "queues_changed":
            count = event.detail.get("queues", "?")
            return logging.INFO, f"{who}: its guest uses {count} queue pairs now ({session})"
        case "fault":
            fault = fault_of(event)
            return logging.WARNING, f"{who}: {fault.name}: {fault.message}. {fault.hint}"
        case "fault_cleared":
            return logging.INFO, f"{who}: no longer at fault ({event.detail.get('fault', '')})"
        case "lost":
            return logging.WARNING, "Some events were lost: more came than could be read"
        case _:
            return logging.INFO, f"{who}: {event.kind}"


class FaultBook:
    """Remembers what the datapath said about the faults its ports and uplinks are in."""

    def __init__(self) -> None:
        self._ports: dict[str, Fault] = {}
        self._uplinks: dict[str, Fault] = {}

    def note(self, event: base.Event) -> None:
        """Take *event* into account."""
        book, who = self._page(event)
        if event.kind == "fault":
            old, new = book.get(who), fault_of(event)
            if old is None or old.name != new.name:
                book[who] = new
        elif event.kind == "fault_cleared":
            book.pop(who, None)

    def _page(self, event: base.Event) -> tuple[dict[str, Fault], str]:
        if event.uplink:
            return self._uplinks, event.uplink
        return self._ports, event.port

    def forget_port(self, port: str) -> None:
        """Drop what is known of *port*."""
        self._ports.pop(port, None)

    def keep_uplinks(self, names: Container[str]) -> None:
        """Drop what is known of all uplinks but those called *names*."""
        self._uplinks = {name: f for name, f in self._uplinks.items() if name in names}

    def explain(self, port: str, name: str, now: float) -> Fault | None:
        """Return the fault *name* that *port* is in, with all that is known; None for none."""
        if not name:
            return None
        known = self._ports.get(port)
        if known is not None and known.name == name:
            return known
        return Fault(name=name, message=name, hint=UNKNOWN_HINT, since=now)

    def uplink(self, name: str) -> Fault | None:
        """Return the fault that the uplink called *name* is in, if any is known."""
        return self._uplinks.get(name)
