# SPDX-License-Identifier: Apache-2.0
"""What goes on before there is a log and a loop."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.support import entry, settings, state
from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon.boot import boot
from vhost_brick_plugin.daemon.earlylog import EarlyLog
from vhost_brick_plugin.daemon.store import Store
from vhost_brick_plugin.daemon.timeline import Timeline
from vhost_brick_plugin.datapath.fake import FakeDatapath


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    level, handlers = logger.level, logger.handlers[:]
    logger.handlers = []
    yield logger
    logger.handlers, logger.level = handlers, level


def test_early_records_come_out_later_with_their_time(root: logging.Logger) -> None:
    early = EarlyLog()
    logging.getLogger("a").info("first %d", 1)
    logging.getLogger("b").debug("too much detail")
    late = Collector()
    root.addHandler(late)
    early.replay()
    logging.getLogger("a").info("second")
    assert [r.getMessage() for r in late.records] == ["first 1", "second"]
    assert late.records[0].created <= late.records[1].created
    assert early not in root.handlers


def test_a_level_set_later_counts(root: logging.Logger) -> None:
    early = EarlyLog()
    logging.getLogger("a").info("chatter")
    logging.getLogger("a").error("trouble")
    late = Collector()
    root.addHandler(late)
    root.setLevel(logging.WARNING)
    early.replay()
    assert [r.getMessage() for r in late.records] == ["trouble"]


def test_where_the_start_fails_they_go_to_stderr(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    early = EarlyLog()
    logging.getLogger("a").critical("no way")
    early.dump()
    assert capsys.readouterr().err == "CRITICAL no way\n"


def test_the_timeline_adds_up() -> None:
    timeline = Timeline()
    for part in ("one", "two"):
        timeline.mark(part)
    assert list(timeline.parts_ms) == ["one", "two"]
    assert timeline.parts_ms["one"] > 0
    assert timeline.total_ms == pytest.approx(sum(timeline.parts_ms.values()), abs=0.2)


def test_boot_serves_what_is_stored(short_dir: Path) -> None:
    made = settings(short_dir)
    wanted = state(entry("a", socket_path=f"{made.socket_dir}/a"))
    Store(made.state_dir).save(wanted)
    timeline = Timeline()
    booted = boot(made, timeline)
    assert booted.desired == booted.engine.actual == wanted
    assert list(timeline.parts_ms) == ["datapath", "ports"]
    for lock in booted.locks:
        lock.release()


def test_the_datapath_is_started_and_called_by_one_thread(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    begin = FakeDatapath._begin

    def note(self: FakeDatapath, method: str, name: str) -> None:
        seen.add(threading.get_ident())
        begin(self, method, name)

    monkeypatch.setattr(FakeDatapath, "_begin", note)
    made = settings(short_dir)
    Store(made.state_dir).save(state(entry("a", socket_path=f"{made.socket_dir}/a")))
    booted = boot(made, Timeline())
    assert seen == {booted.thread.submit(threading.get_ident).result()}
    assert threading.get_ident() not in seen


def test_the_lock_comes_before_the_datapath(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settings(short_dir)
    first = boot(made, Timeline())
    monkeypatch.setattr(FakeDatapath, "start", lambda *_: pytest.fail("started"))
    with pytest.raises(errors.StateError, match="another vhost-brickd"):
        boot(made, Timeline())
    for lock in first.locks:
        lock.release()


def test_a_datapath_that_cannot_be_loaded_is_named(short_dir: Path) -> None:
    made = settings(short_dir, datapath_class="vhost_brick_plugin.nowhere:Gone")
    with pytest.raises(errors.DatapathError, match="nowhere:Gone"):
        boot(made, Timeline())


def test_another_control_socket_is_nothing_to_stand_by_for(short_dir: Path) -> None:
    made = settings(short_dir)
    first = boot(made, Timeline())
    other = dataclasses.replace(made, state_dir=str(short_dir / "other"), standby=True)
    with pytest.raises(errors.StateError, match="api_socket") as caught:
        boot(other, Timeline())
    assert not isinstance(caught.value, errors.StateInUse)
    for lock in first.locks:
        lock.release()


def test_a_state_that_is_served_may_be_stood_by_for(short_dir: Path) -> None:
    made = settings(short_dir)
    first = boot(made, Timeline())
    with pytest.raises(errors.StateInUse, match="standby = on"):
        boot(made, Timeline())
    for lock in first.locks:
        lock.release()


def test_a_timeline_of_something_later() -> None:
    timeline = Timeline(from_now=True)
    timeline.mark("one")
    timeline.mark("two")
    since_start = Timeline()
    since_start.mark("all")
    assert timeline.total_ms < since_start.total_ms
    assert str(timeline).startswith(f"{timeline.total_ms:g} ms (one ")
