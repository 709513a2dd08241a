# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a stage for attacks, shared by a module's tests while nobody breaks it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.daemon import Config, Daemon
from tests.functional.hostile.stage import Stage

StageFor = Callable[[Config | None], contextlib.AbstractContextManager[Stage]]


@contextlib.contextmanager
def _set_up(config: Config | None = None) -> Iterator[Stage]:
    # Sockets are in it: tmp_path may be too long.
    with tempfile.TemporaryDirectory(prefix="vbt-", dir="/tmp") as directory:
        # Other users' frontends come here, too.
        Path(directory).chmod(0o755)
        with Stage(Path(directory), config) as stage:
            yield stage


@pytest.fixture(scope="module")
def _shared_stage(vuser_binary: Path) -> Iterator[Callable[[], Stage]]:
    """Return a function that gives the module's stage, a new one after a broken one."""
    with contextlib.ExitStack() as stack:
        stage: Stage | None = None

        def current() -> Stage:
            nonlocal stage
            if stage is None or stage.broken:
                stack.close()
                stage = stack.enter_context(_set_up())
            return stage

        yield current


@pytest.fixture
def stage(_shared_stage: Callable[[], Stage], show_log: Callable[[Daemon], None]) -> Stage:
    """A daemon, victims and a witness."""
    stage = _shared_stage()
    show_log(stage.daemon)
    return stage


@pytest.fixture
def make_stage(
    vuser_binary: Path, show_log: Callable[[Daemon], None]
) -> Iterator[Callable[[Config], Stage]]:
    """Return a function that sets up a stage whose daemon is configured like this."""
    with contextlib.ExitStack() as stack:

        def make(config: Config) -> Stage:
            stage = stack.enter_context(_set_up(config))
            show_log(stage.daemon)
            return stage

        yield make
