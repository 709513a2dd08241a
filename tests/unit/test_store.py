# SPDX-License-Identifier: Apache-2.0
"""The state file: what was saved is there, whatever happens to the file."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.support import entry, state, tap, vxlan
from vhost_brick_plugin import errors, state_file
from vhost_brick_plugin.daemon import store as store_module
from vhost_brick_plugin.daemon.state import State
from vhost_brick_plugin.daemon.store import Store
from vhost_brick_plugin.model import AddressPair, Mode, Network, PortSecurity, SecurityMode

FILTERED = PortSecurity(
    mode=SecurityMode.FILTERED, allowed=(AddressPair(mac="52:54:00:00:00:01", ip="fd00::/64"),)
)
FULL = state(
    entry("a", metadata={"instance": 'quo"ted\n'}),
    entry("b:1", mode=Mode.SERVER, queues=4, network="m"),
    entry("c", security=FILTERED),
    entry("d", security=None),
    networks=(
        Network(name="n", uplinks=(tap("t"),)),
        Network(name="m", implicit=True),
        Network(name="g", guarded=True, uplinks=(tap("u", 5), vxlan(7, "192.0.2.9"))),
    ),
)
FILE, COPY = "ports.json", "ports.json.bak"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def reload(tmp_path: Path) -> State:
    """Load as the next process would."""
    return Store(str(tmp_path)).load()


def test_nothing_stored_is_an_empty_state(store: Store) -> None:
    assert store.load() == State()


@pytest.mark.parametrize("wanted", [State(), FULL])
def test_round_trip(store: Store, tmp_path: Path, wanted: State) -> None:
    store.save(wanted)
    assert reload(tmp_path) == wanted


FIRST_RELEASE = """{"version": 1,
"networks": [
{"name": "n", "mtu": 1500, "uplinks": [{"kind": "tap", "name": "t"}], "implicit": false}],
"ports": [
{"port": {"id": "a", "network": "n", "mode": "client", "socket_path": "/run/s/a",
 "mac": "52:54:00:00:00:61", "mtu": 1500, "queues": 1, "metadata": {}},
 "offer": {"features": 4294967296, "queues": 1, "mtu": 1500}}]}
"""


def test_a_file_of_the_first_release_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(FIRST_RELEASE)
    network = Network(name="n", uplinks=(tap("t"),))
    assert reload(tmp_path) == state(entry("a", security=None), networks=(network,))


def test_every_save_replaces_the_one_before(store: Store, tmp_path: Path) -> None:
    first = entry("a")
    for wanted in (state(first), state(first, entry("b")), state(entry("a", queues=2)), State()):
        store.save(wanted)
        assert reload(tmp_path) == wanted


def test_the_copy_is_a_file_of_its_own(store: Store, tmp_path: Path) -> None:
    store.save(FULL)
    assert (tmp_path / COPY).read_bytes() == (tmp_path / FILE).read_bytes()
    assert (tmp_path / COPY).stat().st_ino != (tmp_path / FILE).stat().st_ino


def test_files_are_readable_for_the_group_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Store(str(tmp_path), gid=12345 if os.geteuid() == 0 else os.getegid()).save(FULL)
    finally:
        os.umask(old)
    for name in (FILE, COPY):
        status = (tmp_path / name).stat()
        assert status.st_mode & 0o7777 == 0o640
        assert status.st_gid == (12345 if os.geteuid() == 0 else os.getegid())


def test_the_os_vif_plugin_reads_what_the_daemon_writes(store: Store, tmp_path: Path) -> None:
    store.save(FULL)
    found = state_file.stored_ports(str(tmp_path))["b:1"]
    assert (found["socket_path"], found["mode"]) == ("/run/s/b:1", "server")


@pytest.mark.parametrize("size", [0, 1, 40, -3])
def test_a_truncated_file_loses_nothing(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    store.save(FULL)
    file = tmp_path / FILE
    cut = file.read_bytes()[:size]
    file.write_bytes(cut)

    assert reload(tmp_path) == FULL

    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    (aside,) = tmp_path.glob("ports.json.damaged-*")
    assert aside.read_bytes() == cut
    for name in (str(file), str(aside), str(tmp_path / COPY)):
        assert name in record.getMessage()
    # And it is whole again: the next accident is survived as well.
    (tmp_path / FILE).write_bytes(b"")
    assert reload(tmp_path) == FULL


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: {**d, "ports": {}},
        lambda d: {**d, "ports": [{"port": {}}]},
        lambda d: {k: v for k, v in d.items() if k != "networks"},
        lambda d: [d],
        lambda d: {**d, "version": "1"},
        lambda d: {**d, "surprise": 1},
    ],
)
def test_json_that_is_no_state_is_damage_too(
    store: Store, tmp_path: Path, damage: Callable[[Any], Any]
) -> None:
    store.save(FULL)
    file = tmp_path / FILE
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))
    assert reload(tmp_path) == FULL


def test_a_missing_file_is_made_from_its_copy(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(FULL)
    (tmp_path / FILE).unlink()
    assert reload(tmp_path) == FULL
    assert (tmp_path / FILE).exists()
    assert str(tmp_path / COPY) in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_a_copy_that_is_not_good_is_made_again(
    store: Store, tmp_path: Path, content: bytes | None
) -> None:
    store.save(FULL)
    copy = tmp_path / COPY
    copy.unlink() if content is None else copy.write_bytes(content)
    assert reload(tmp_path) == FULL
    assert copy.read_bytes() == (tmp_path / FILE).read_bytes()


def test_a_stale_copy_is_brought_up_to_date(store: Store, tmp_path: Path) -> None:
    store.save(state(entry("a")))
    old = (tmp_path / COPY).read_bytes()
    store.save(FULL)
    (tmp_path / COPY).write_bytes(old)
    reload(tmp_path)
    (tmp_path / FILE).write_bytes(b"")
    assert reload(tmp_path) == FULL


@pytest.mark.parametrize("copy", [None, b"{"])
def test_with_both_gone_nothing_is_touched(
    store: Store, tmp_path: Path, copy: bytes | None
) -> None:
    store.save(FULL)
    (tmp_path / FILE).write_bytes(b"[")
    (tmp_path / COPY).unlink() if copy is None else (tmp_path / COPY).write_bytes(copy)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(errors.StateError) as caught:
        reload(tmp_path)
    assert str(tmp_path / FILE) in caught.value.message
    assert str(tmp_path / COPY) in caught.value.message
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_damaged_copy_alone_is_no_empty_state(store: Store, tmp_path: Path) -> None:
    (tmp_path / COPY).write_bytes(b"{")
    with pytest.raises(errors.StateError, match="missing"):
        store.load()


def test_a_newer_format_is_refused_and_left_alone(store: Store, tmp_path: Path) -> None:
    store.save(FULL)
    file = tmp_path / FILE
    newer = file.read_text().replace('"version": 1', '"version": 2')
    file.write_text(newer)
    with pytest.raises(errors.StateError, match="newer version"):
        reload(tmp_path)
    assert file.read_text() == newer


def _fail(monkeypatch: pytest.MonkeyPatch, name: str, at: int) -> None:
    """Let the call number *at* of os.NAME fail as on a full disk."""
    real, count = getattr(os, name), iter(range(1, 1000))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(count) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    monkeypatch.setattr(store_module.os, name, call)


@pytest.mark.parametrize(("name", "at"), [("open", 1), ("open", 2), ("fsync", 1), ("rename", 1)])
def test_a_save_that_fails_changes_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int
) -> None:
    store.save(FULL)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    _fail(monkeypatch, name, at)
    with pytest.raises(errors.StateError, match="No space left"):
        store.save(State())
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    store.save(State())
    assert reload(tmp_path) == State()


def test_what_is_acknowledged_is_synced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The truth is on the disk before its name is moved, and the name before save returns."""
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(fd: int) -> None:
        steps.append("sync " + Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        fsync(fd)

    def note_rename(a: str, b: str) -> None:
        steps.append("rename " + Path(b).name)
        rename(a, b)

    monkeypatch.setattr(store_module.os, "fsync", note_fsync)
    monkeypatch.setattr(store_module.os, "rename", note_rename)
    store.save(FULL)
    assert steps == [
        f"sync {FILE}.new",
        f"rename {COPY}",
        f"rename {FILE}",
        f"sync {tmp_path.name}",
    ]


def test_a_crash_at_any_step_leaves_old_or_new(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are looked at before every step, as the next process would after a kill."""
    old, new = FULL, state(entry("z"))
    store.save(old)
    seen: list[State] = []

    def spy(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.undo()
            seen.append(_look(tmp_path))
            install()
            return real(*args, **kwargs)

        monkeypatch.setattr(store_module.os, name, call)

    def install() -> None:
        for name in ("fsync", "rename"):
            spy(name)

    install()
    store.save(new)
    monkeypatch.undo()
    assert seen == [old] * 3 + [new]


def _look(directory: Path) -> State:
    """Load from a copy of *directory*, because loading may heal."""
    elsewhere = directory.parent / f"{directory.name}-look"
    elsewhere.mkdir(exist_ok=True)
    for file in directory.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    return Store(str(elsewhere)).load()


def test_a_disk_that_is_full_at_the_start_does_not_keep_ports_from_being_served(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(FULL)
    (tmp_path / FILE).write_bytes(b"")
    _fail(monkeypatch, "fsync", 1)
    assert reload(tmp_path) == FULL
    assert "no second copy" in caplog.text
    monkeypatch.undo()
    assert reload(tmp_path) == FULL


# -- looking without touching --------------------------------------------------


def everything(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        p.name: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes())
        for p in directory.iterdir()
    }


def test_a_peek_of_nothing_makes_nothing(store: Store, tmp_path: Path) -> None:
    assert store.peek() == State()
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("lost", ["", FILE, COPY])
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_peek_changes_nothing(tmp_path: Path, lost: str, how: str) -> None:
    Store(str(tmp_path)).save(FULL)
    if lost and how == "missing":
        (tmp_path / lost).unlink()
    elif lost:
        (tmp_path / lost).write_bytes(b"{")
    before = everything(tmp_path)
    assert Store(str(tmp_path)).peek() == FULL
    assert everything(tmp_path) == before


def test_a_peek_at_nothing_but_damage(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"{")
    (tmp_path / COPY).write_bytes(b"}")
    before = everything(tmp_path)
    with pytest.raises(errors.StateError, match=rf"{FILE} is damaged.*{COPY} is damaged"):
        Store(str(tmp_path)).peek()
    assert everything(tmp_path) == before


def test_what_is_the_same_is_the_same_object(tmp_path: Path) -> None:
    """So that diff() need not compare it, and a standby with many ports is quick."""
    writer, reader = Store(str(tmp_path)), Store(str(tmp_path))
    writer.save(FULL)
    first = reader.peek()
    writer.save(FULL.with_port(entry("a", mtu=1400)).without_port("c"))
    second = reader.peek()
    assert second == reload(tmp_path)
    assert {id for id in second.ports if second.ports[id] is first.ports[id]} == {"b:1", "d"}
    assert all(second.networks[n] is first.networks[n] for n in FULL.networks)


@pytest.mark.parametrize("damaged", [FILE, COPY])
def test_settling_heals_both_files(tmp_path: Path, damaged: str) -> None:
    Store(str(tmp_path)).save(FULL)
    store = Store(str(tmp_path))
    state = store.peek()
    (tmp_path / damaged).write_bytes(b"{")
    store.settle(state)
    assert (tmp_path / FILE).read_bytes() == (tmp_path / COPY).read_bytes()
    assert reload(tmp_path) == FULL


def test_settling_what_is_settled_writes_nothing(tmp_path: Path) -> None:
    Store(str(tmp_path)).save(FULL)
    before = everything(tmp_path)
    store = Store(str(tmp_path))
    store.settle(store.peek())
    assert everything(tmp_path) == before
