# SPDX-License-Identifier: Apache-2.0
"""Who keeps the soak's daemon running: one that is started again, or a pair that takes turns.

To the soak both are the same: something serves, can be killed, and serves again.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.functional.daemon import Config, Daemon, DaemonFailed
from tests.functional.pair import STANDBY, Pair


class Keeper(abc.ABC):
    """Starts when it is made.

    :param directory: for all that the daemons have; a short path.
    :param wrap: words before their commands.
    :param config: options of theirs.
    """

    name: str

    def __init__(self, directory: Path, wrap: list[str], config: Config) -> None:
        self._directory = directory
        self._wrap = wrap
        self._config = config

    def _made(self, name: str, config: Config = MappingProxyType({}), **more: Any) -> Daemon:
        (self._directory / name).mkdir()
        return Daemon(
            self._directory / name, config={**self._config, **config}, wrap=self._wrap, **more
        )

    @property
    @abc.abstractmethod
    def serving(self) -> Daemon:
        """The daemon that serves."""

    @abc.abstractmethod
    def processes(self) -> Iterator[Daemon]:
        """Yield all that run."""

    @abc.abstractmethod
    def kill(self) -> None:
        """Kill the one that serves by SIGKILL, and do nothing about it."""

    @abc.abstractmethod
    def recover(self) -> None:
        """Return when there is one that serves again, after :meth:`kill`."""

    @abc.abstractmethod
    def stop(self) -> list[str]:
        """End all in good order; returns what went wrong."""

    @property
    @abc.abstractmethod
    def logs(self) -> Mapping[str, Path]:
        """All log files, by a name."""


class Alone(Keeper):
    """One daemon."""

    name = "alone"

    def __init__(self, directory: Path, wrap: list[str], config: Config) -> None:
        super().__init__(directory, wrap, config)
        self._daemon = self._made("d").start()

    @property
    def serving(self) -> Daemon:
        return self._daemon

    def processes(self) -> Iterator[Daemon]:
        yield self._daemon

    def kill(self) -> None:
        self._daemon.kill9()

    def recover(self) -> None:
        self._daemon.start()

    def stop(self) -> list[str]:
        return _ended(self._daemon)

    @property
    def logs(self) -> Mapping[str, Path]:
        return {"daemon": self._daemon.log_path}


class Turns(Keeper):
    """Two daemons, one of which stands by."""

    name = "standby"

    def __init__(self, directory: Path, wrap: list[str], config: Config) -> None:
        super().__init__(directory, wrap, config)
        first = self._made("d", STANDBY).start()
        second = self._made("e", STANDBY, beside=first).start()
        self._both = (first, second)
        self.pair = Pair(first, second)
        self.pair.wait_in_sync()

    @property
    def serving(self) -> Daemon:
        return self.pair.serving

    def processes(self) -> Iterator[Daemon]:
        yield self.pair.serving
        yield self.pair.standby

    def kill(self) -> None:
        self.pair.serving.kill9()

    def recover(self) -> None:
        self.pair.swapped()
        self.pair.start_standby()

    def hand_over(self) -> None:
        """Have it handed over, as for an upgrade."""
        self.pair.hand_over()
        self.pair.start_standby()

    def kill_standby(self) -> None:
        """Kill the one that stands by, and start it again."""
        self.pair.standby.kill9()
        self.pair.start_standby()

    def stop(self) -> list[str]:
        # First the standby, or it would take over.
        return [*_ended(self.pair.standby), *_ended(self.pair.serving)]

    @property
    def logs(self) -> Mapping[str, Path]:
        return {daemon.directory.name: daemon.log_path for daemon in self._both}


KEEPERS: tuple[type[Keeper], ...] = (Alone, Turns)


def _ended(daemon: Daemon) -> list[str]:
    """End a daemon; returns what went wrong."""
    try:
        status = daemon.stop() if daemon.running else daemon.wait()
    except DaemonFailed as e:
        daemon.kill9()
        return [str(e)]
    finally:
        daemon.cleanup()
    return [f"{daemon.directory.name} ended with {status}"] if status else []
