# SPDX-License-Identifier: Apache-2.0
"""Two daemons never share what is one daemon's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon.lock import Lock

HOLDER = """
import sys
from vhost_brick_plugin.daemon.lock import Lock
lock = Lock(sys.argv[1], "it")
print("held", flush=True)
sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = hold(path)
    try:
        with pytest.raises(errors.StateInUse, match=rf"process {holder.pid}\) uses state_dir /x"):
            Lock(str(path), "state_dir /x")
    finally:
        holder.kill()
        holder.communicate()


def test_a_killed_holder_leaves_no_stale_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = hold(path)
    holder.kill()
    holder.communicate()
    lock = Lock(str(path), "it")
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_release(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = Lock(path, "it")
    with pytest.raises(errors.StateError):
        Lock(path, "it")
    first.release()
    first.release()
    Lock(path, "it").release()


def test_who_waits_gets_it_when_the_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = hold(path)
    got: Future[Lock] = Future()
    threading.Thread(
        target=lambda: got.set_result(Lock(str(path), "it", wait=True)), daemon=True
    ).start()
    with pytest.raises(TimeoutError):
        got.result(timeout=0.2)
    holder.kill()
    lock = got.result(timeout=10)
    assert lock.previous == holder.pid
    assert path.read_text() == f"{os.getpid()}\n"
    holder.communicate()
    lock.release()


def test_nobody_held_it_before(tmp_path: Path) -> None:
    lock = Lock(str(tmp_path / "lock"), "it")
    assert lock.previous == 0
    lock.release()


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(errors.StateError, match="No such file"):
        Lock(str(tmp_path / "nowhere" / "lock"), "it")


def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    """A child that outlives the daemon must not keep the next one out."""
    path = str(tmp_path / "lock")
    lock = Lock(path, "it")
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    try:
        Lock(path, "it").release()
    finally:
        child.communicate()
