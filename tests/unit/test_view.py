# SPDX-License-Identifier: Apache-2.0
"""The state file, seen by one who may only look."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.support import entry, state
from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon.state import State
from vhost_brick_plugin.daemon.store import Store
from vhost_brick_plugin.daemon.view import View

ONE, TWO = state(entry("a")), state(entry("a"), entry("b"))


@pytest.fixture
def writer(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    made = View(Store(str(tmp_path)), str(tmp_path))
    yield made
    made.close()


def woken(view: View, timeout: float = 10) -> bool:
    return bool(select.select([view], [], [], timeout)[0])


def test_the_first_look_always_shows_something(view: View) -> None:
    assert view.look() == State()
    assert view.look() is None


def test_every_change_wakes_and_shows_once(view: View, writer: Store) -> None:
    view.look()
    for wanted in (ONE, TWO, ONE):
        writer.save(wanted)
        assert woken(view)
        assert view.look() == wanted
        assert not woken(view, 0)
        assert view.look() is None


def test_many_changes_are_one(view: View, writer: Store) -> None:
    view.look()
    for wanted in (ONE, TWO) * 100:
        writer.save(wanted)
    assert view.look() == TWO
    assert not woken(view, 0)


def test_a_file_that_is_damaged_is_told_until_it_is_not(
    view: View, writer: Store, tmp_path: Path
) -> None:
    writer.save(ONE)
    assert view.look() == ONE
    for file in tmp_path.glob("ports.json*"):
        file.write_bytes(b"{")
    for _ in range(2):
        with pytest.raises(errors.StateError, match="damaged"):
            view.look()
    writer.save(TWO)
    assert woken(view)
    assert view.look() == TWO


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.StateError, match="No such file"):
        View(Store(str(tmp_path)), str(tmp_path / "nowhere"))
