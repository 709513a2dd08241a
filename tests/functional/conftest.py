# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a daemon, and virtual machines to plug into it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.frontend import vuser as vuser_module
from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import VUser
from tests.functional.daemon import Daemon

NR_HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")

DAEMONS = pytest.StashKey[list[Daemon]]()


@pytest.fixture(scope="session", autouse=True)
def _many_files() -> None:
    """Allow what the hard limit allows: hundreds of frontends live in this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let commands be interrupted: what a shell runs in its background ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Return a directory whose sockets stay below 108 bytes, which tmp_path's may not."""
    path = Path(tempfile.mkdtemp(prefix="vbt-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def show_log(request: pytest.FixtureRequest) -> Callable[[Daemon], None]:
    """Return a function: the log of a daemon that is given to it is shown if the test fails."""
    return request.node.stash.setdefault(DAEMONS, []).append


@pytest.fixture
def make_daemon(
    request: pytest.FixtureRequest, short_dir: Path
) -> Iterator[Callable[..., Daemon]]:
    """Return a function that starts a daemon; it takes what :class:`Daemon` takes."""
    made = request.node.stash.setdefault(DAEMONS, [])

    def make(datapath: str = "dpdk", **kwargs: Any) -> Daemon:
        directory = short_dir / f"d{len(made)}"
        directory.mkdir()
        daemon = Daemon(directory, datapath, **kwargs)
        made.append(daemon)
        return daemon.start()

    yield make
    for daemon in made:
        daemon.cleanup()


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A running daemon with the real datapath."""
    return make_daemon("dpdk")


@pytest.fixture
def fake_daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A running daemon without a datapath worth the name."""
    return make_daemon("fake")


@pytest.fixture
def hugepages() -> Iterator[Callable[[int], None]]:
    """Return a function that reserves so many hugepages beside those there are."""
    before = int(NR_HUGEPAGES.read_text()) if NR_HUGEPAGES.exists() else 0

    def reserve(count: int) -> None:
        if NR_HUGEPAGES.exists():
            NR_HUGEPAGES.write_text(f"{before + count}\n")
        if not NR_HUGEPAGES.exists() or int(NR_HUGEPAGES.read_text()) < before + count:
            pytest.skip(f"the kernel does not give {count} hugepages")

    yield reserve
    NR_HUGEPAGES.write_text(f"{before}\n")


@pytest.fixture(scope="session")
def vuser_binary() -> Path:
    """Build the virtio-user frontend, once."""
    return vuser_module.build()


@pytest.fixture
def make_vuser(vuser_binary: Path, short_dir: Path) -> Iterator[Callable[..., VUser]]:
    """Return a function that starts a virtio-user process; it takes what :class:`VUser` takes."""
    with contextlib.ExitStack() as stack:

        def make(name: str = "vuser", **kwargs: Any) -> VUser:
            return stack.enter_context(VUser(short_dir, name=name, **kwargs))

        yield make


@pytest.fixture
def make_frontend() -> Iterator[Callable[..., Frontend]]:
    """Return a function that makes a frontend in Python; it takes what :class:`Frontend` takes."""
    with contextlib.ExitStack() as stack:

        def make(path: str | Path, **kwargs: Any) -> Frontend:
            return stack.enter_context(Frontend(path, **kwargs))

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the log of the daemons of a test that failed."""
    report = yield
    if report.failed:
        for daemon in item.stash.get(DAEMONS, []):
            report.sections.append((f"log of {daemon.directory}", daemon.log_tail()))
    return report


@pytest.fixture
def two_workers(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon with a worker on each of two cores."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("two workers take two cores")
    return make_daemon("dpdk", config={"dpdk": {"worker_cores": f"{cores[0]},{cores[1]}"}})
