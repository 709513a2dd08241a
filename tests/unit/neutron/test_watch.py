# SPDX-License-Identifier: Apache-2.0
"""The thread that listens to the daemon."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator

import pytest

from vhost_brick_plugin import errors
from vhost_brick_plugin.api.methods import Event
from vhost_brick_plugin.neutron.watch import News, Watcher

TIMEOUT_S = 10


class Daemon:
    """A client whose daemon says what a test tells it to; None ends a connection.

    :ivar refusals: how often it cannot be reached before it can.
    """

    path = "/run/d"

    def __init__(self) -> None:
        self.said: queue.Queue[Event | None] = queue.Queue()
        self.refusals = 0
        self.tries = 0

    def watch(self) -> Iterator[Event]:
        self.tries += 1
        if self.refusals:
            self.refusals -= 1
            raise errors.DaemonUnreachable("nobody is there")
        return self._events()

    def _events(self) -> Iterator[Event]:
        while (event := self.said.get()) is not None:
            yield event
        raise errors.DaemonUnreachable("it has ended")


class Listener:
    """A watcher, and how often it has called."""

    def __init__(self) -> None:
        self.daemon = Daemon()
        self._woken = threading.Semaphore(0)
        self.watcher = Watcher(self.daemon, self._woken.release)  # type: ignore[arg-type]

    def start(self) -> None:
        self.watcher.start()
        self.wait()
        assert self.watcher.take() == News(all=True)

    def wait(self) -> None:
        assert self._woken.acquire(timeout=TIMEOUT_S)

    def say(self, kind: str, port: str = "") -> None:
        self.daemon.said.put(Event(time=0.0, kind=kind, port=port))


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.watcher.stop()
    made.daemon.said.put(None)


def test_nothing_is_known_before_the_first_connection(listener: Listener) -> None:
    with pytest.raises(errors.DaemonUnreachable, match="not been reached"):
        listener.watcher.take()
    assert listener.watcher.problem


def test_a_connection_is_news_of_everything(listener: Listener) -> None:
    listener.start()
    assert listener.watcher.take() == News()
    assert listener.watcher.problem == ""


def test_ports_are_news_and_sessions_are_not(listener: Listener) -> None:
    listener.start()
    listener.say("session_running", "a")
    listener.say("network_changed")
    for kind, port in [("port_added", "b"), ("port_removed", "c"), ("port_changed", "d")]:
        listener.say(kind, port)
        listener.wait()
    assert listener.watcher.take() == News(ports={"b", "c", "d"})


def test_lost_events_are_news_of_everything(listener: Listener) -> None:
    listener.start()
    listener.say("lost")
    listener.wait()
    assert listener.watcher.take() == News(all=True)


def test_news_given_back_are_news_again(listener: Listener) -> None:
    listener.start()
    listener.say("port_added", "b")
    listener.wait()
    listener.watcher.give_back(News(all=True, ports={"a"}))
    assert listener.watcher.take() == News(all=True, ports={"a", "b"})


def test_a_restarted_daemon_is_found_again(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    listener.start()
    listener.daemon.refusals = 3
    with caplog.at_level(logging.WARNING):
        listener.daemon.said.put(None)
        listener.wait()
    assert listener.watcher.take() == News(all=True)
    assert listener.daemon.tries == 5
    assert len(caplog.records) == 1, "an outage is told once"
    assert "it has ended" in caplog.text


def test_news_wait_while_the_daemon_is_away(listener: Listener) -> None:
    listener.start()
    listener.say("port_added", "b")
    listener.wait()
    listener.daemon.refusals = 1
    listener.daemon.said.put(None)
    listener.wait()
    assert listener.watcher.take() == News(all=True, ports={"b"})
