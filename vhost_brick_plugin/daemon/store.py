# SPDX-License-Identifier: Apache-2.0
"""The state file: what must be served again after a crash.

``ports.json`` is the truth; ``ports.json.bak`` is a second copy of it, in
blocks of its own, for the day the first one is damaged.  Both are written to
temporary files before either name is moved, so that a full disk changes
nothing.  The truth is synced, and the directory before :meth:`Store.save`
returns, so that what was acknowledged is there after a power cut.  The copy is
not: syncing is what a change takes longest for, and after a power cut the copy
is made again from the truth.

One thread uses a store, and the caller holds the lock of the directory, but to
:meth:`~Store.peek`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon.document import Damage, Reader, Writer
from vhost_brick_plugin.daemon.settings import KEEP
from vhost_brick_plugin.daemon.state import State
from vhost_brick_plugin.state_file import COPY_NAME, FILE_NAME

LOG = logging.getLogger(__name__)

FILE_MODE = 0o640
"""The os-vif plugin reads the file while the daemon is down: see ``state_file.py``."""


class Store:
    """Keeps a :class:`.state.State` in a directory.

    :param gid: group of the files, or KEEP.
    """

    def __init__(self, directory: str, gid: int = KEEP) -> None:
        self.path = os.path.join(directory, FILE_NAME)
        self.copy = os.path.join(directory, COPY_NAME)
        self._directory = directory
        self._gid = gid
        self._writer = Writer()
        self._reader = Reader()

    def save(self, state: State) -> None:
        """Store *state*; when this returns it survives a crash.

        :raises errors.StateError: it could not be stored; the old state still is.
        """
        data = self._writer.render(state)
        copy, truth = fresh = (self.copy + ".new", self.path + ".new")
        try:
            self._write(copy, data, sync=False)
            self._write(truth, data, sync=True)
            # The copy first: whenever the truth is damaged, the copy is not behind it.
            os.rename(copy, self.copy)
            os.rename(truth, self.path)
            self._sync_directory()
        except OSError as e:
            _remove(fresh)
            raise errors.StateError(
                f"cannot store the state in {self.path}: {e.strerror or e}"
            ) from e

    def try_save(self, state: State) -> errors.StateError | None:
        """As :meth:`save`, but return the error."""
        try:
            self.save(state)
        except errors.StateError as e:
            return e
        return None

    def load(self) -> State:
        """Return the stored state, empty if there never was any.

        A damaged file is set aside and its copy is used.

        :raises errors.StateError: nothing readable is left, or it was written
            by a newer version; all files stay as they are.
        """
        data = _read(self.path)
        if data is None:
            return self._load_copy_of_missing()
        state = self._reader.parse(self.path, data)
        if isinstance(state, Damage):
            return self._load_copy_of_damaged(state)
        if _read(self.copy) != data:
            self._heal(state)
        return state

    def peek(self) -> State:
        """Return the stored state and touch nothing: for one who does not hold the lock.

        :raises errors.StateError: nothing readable is there.
        """
        damage: list[str] = []
        for path in (self.path, self.copy):
            data = _read(path)
            if data is None:
                continue
            state = self._reader.parse(path, data)
            if isinstance(state, State):
                return state
            damage.append(f"{path} is damaged: {state}")
        if damage:
            raise errors.StateError(" and ".join(damage))
        return State()

    def settle(self, state: State) -> None:
        """Have both files hold *state*, as they do after :meth:`load`."""
        data = self._writer.render(state)
        if _read(self.path) != data or _read(self.copy) != data:
            self._heal(state)

    def _load_copy_of_missing(self) -> State:
        data = _read(self.copy)
        if data is None:
            return State()
        state = self._reader.parse(self.copy, data)
        if isinstance(state, Damage):
            raise errors.StateError(
                f"{self.path} is missing, and its copy {self.copy} is damaged: {state}",
                hint="Put a backup in place, or delete both files to start without any port.",
            )
        LOG.warning(
            "State file %s was missing; its copy %s with %d ports is used. To start without any "
            "port, delete both.",
            self.path,
            self.copy,
            len(state.ports),
        )
        self._heal(state)
        return state

    def _load_copy_of_damaged(self, damage: Damage) -> State:
        data = _read(self.copy)
        state = Damage("it is missing") if data is None else self._reader.parse(self.copy, data)
        if isinstance(state, Damage):
            raise errors.StateError(
                f"{self.path} is damaged: {damage}; and so is its copy {self.copy}: {state}",
                hint="Put a backup in place, or move both files away to start without any port.",
            )
        aside = f"{self.path}.damaged-{time.time_ns() // 1000}"
        os.rename(self.path, aside)
        LOG.error(
            "State file %s was damaged (%s). It is set aside as %s, and its last good copy %s "
            "with %d ports is used. Check the file system.",
            self.path,
            damage,
            aside,
            self.copy,
            len(state.ports),
        )
        self._heal(state)
        return state

    def _heal(self, state: State) -> None:
        """Make both files again; to serve with one is better than not to serve."""
        problem = self.try_save(state)
        if problem is not None:
            LOG.error("There is no second copy of the state until this is solved: %s", problem)

    def _write(self, path: str, data: bytes, *, sync: bool) -> None:
        with open(path, "wb", opener=_private) as file:
            os.fchown(file.fileno(), KEEP, self._gid)
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())

    def _sync_directory(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise errors.StateError(f"cannot read {path}: {e.strerror or e}") from e


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
