# SPDX-License-Identifier: Apache-2.0
"""Datapath events in words."""

from __future__ import annotations

import logging

import pytest

from vhost_brick_plugin.daemon import events
from vhost_brick_plugin.datapath import base

KINDS = (
    "session_connected",
    "session_adopted",
    "session_running",
    "session_stopped",
    "session_closed",
    "queues_changed",
    "fault",
    "fault_cleared",
    "something_new",
)
FAULT = base.Event(
    time=5.0,
    kind="fault",
    port="p1",
    detail={"fault": "feature_refused", "message": "QEMU wants more", "hint": "Restart the VM."},
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_says_who(kind: str) -> None:
    level, text = events.describe(base.Event(time=1.0, kind=kind, port="p1", session=3))
    assert "p1" in text
    assert level in (logging.INFO, logging.WARNING)


@pytest.mark.parametrize("kind", ["fault", "fault_cleared"])
def test_a_line_about_an_uplink_says_so(kind: str) -> None:
    _, text = events.describe(base.Event(time=1.0, kind=kind, uplink="t0"))
    assert text.startswith("Uplink t0: ")


def test_a_fault_says_what_and_what_to_do() -> None:
    level, text = events.describe(FAULT)
    assert level == logging.WARNING
    for part in ("p1", "feature_refused", "QEMU wants more", "Restart the VM."):
        assert part in text


def test_lost_events_are_worth_a_warning() -> None:
    level, _ = events.describe(base.Event(time=1.0, kind="lost", port=""))
    assert level == logging.WARNING


def test_translate_keeps_all() -> None:
    assert events.translate(base.Event(time=1.0, kind="fault", uplink="t0")).uplink == "t0"
    event = base.Event(time=1.0, kind="session_running", port="p", session=3, detail={"a": "b"})
    made = events.translate(event)
    assert (made.time, made.kind, made.port) == (1.0, "session_running", "p")
    assert made.detail == {"a": "b", "session": "3"}


def test_a_fault_dates_from_its_first_event() -> None:
    book = events.FaultBook()
    book.note(FAULT)
    book.note(base.Event(time=9.0, kind="fault", port="p1", detail=FAULT.detail))
    fault = book.explain("p1", "feature_refused", now=10.0)
    assert fault is not None
    assert (fault.since, fault.hint) == (5.0, "Restart the VM.")


def test_no_fault_no_explanation() -> None:
    book = events.FaultBook()
    book.note(FAULT)
    assert book.explain("p1", "", now=10.0) is None


def test_a_cleared_fault_is_forgotten() -> None:
    book = events.FaultBook()
    book.note(FAULT)
    book.note(base.Event(time=6.0, kind="fault_cleared", port="p1"))
    fault = book.explain("p1", "feature_refused", now=10.0)
    assert fault is not None
    assert fault.since == 10.0


def test_another_fault_than_the_one_told_is_shown_by_its_name() -> None:
    book = events.FaultBook()
    book.note(FAULT)
    fault = book.explain("p1", "ring_broken", now=10.0)
    assert fault is not None
    assert (fault.name, fault.hint) == ("ring_broken", events.UNKNOWN_HINT)


def test_faults_of_ports_and_of_uplinks_are_not_mixed_up() -> None:
    book = events.FaultBook()
    book.note(base.Event(time=1.0, kind="fault", uplink="x", detail={"fault": "interface_gone"}))
    assert book.uplink("y") is None
    found = book.uplink("x")
    assert found is not None
    assert found.name == "interface_gone"
    book.forget_port("x")
    book.note(base.Event(time=2.0, kind="fault_cleared", port="x"))
    assert book.uplink("x") == found
    book.keep_uplinks({"x"})
    assert book.uplink("x") == found
    book.keep_uplinks(set())
    assert book.uplink("x") is None
