# SPDX-License-Identifier: Apache-2.0
"""Signs of life for a supervisor."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from vhost_brick_plugin.daemon import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(short_dir: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    path = f"{short_dir}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + path if abstract else path)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + path if abstract else path)
        notify.notify("READY=1")
        assert sock.recv(100, socket.MSG_DONTWAIT) == b"READY=1"


@pytest.mark.parametrize("path", ["", "/nowhere/notify"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify.notify("READY=1")


def test_a_supervisor_that_does_not_read_is_not_waited_for(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{short_dir}/notify")
        monkeypatch.setenv("NOTIFY_SOCKET", f"{short_dir}/notify")
        for _ in range(10000):
            notify.notify("WATCHDOG=1")


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("2000000", None, 1.0),
        ("2000000", str(os.getpid()), 1.0),
        ("2000000", "1", None),
        (None, None, None),
        ("0", None, None),
        ("soon", None, None),
    ],
)
def test_watchdog_interval(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, interval: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert notify.watchdog_interval() == interval
