# SPDX-License-Identifier: Apache-2.0
"""From settings to served ports: what a start does before anything else.

After a crash the guests wait for this, so nothing is imported here that it
can do without (no asyncio, oslo or pyroute2), and what it cannot is imported
while DPDK starts.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon import sockets
from vhost_brick_plugin.daemon.lock import Lock
from vhost_brick_plugin.daemon.settings import Access, Settings
from vhost_brick_plugin.daemon.timeline import Timeline
from vhost_brick_plugin.datapath.base import Datapath, Options

if TYPE_CHECKING:
    from vhost_brick_plugin.api.methods import TookOver
    from vhost_brick_plugin.daemon.engine import Engine
    from vhost_brick_plugin.daemon.state import State
    from vhost_brick_plugin.daemon.store import Store

STATE_DIR_MODE = 0o750


@dataclasses.dataclass(frozen=True, kw_only=True)
class Booted:
    """A daemon that serves its ports, and does nothing else yet.

    :ivar thread: runs everything that touches datapath, engine or store.
    :ivar timeline: of its start, or of its take-over.
    :ivar locks: kept until the end of the process.
    :ivar listener: the control socket of the daemon that served before; None: there is none.
    :ivar took_over: how it came to serve; None: it was started to.
    """

    settings: Settings
    locks: tuple[Lock, ...]
    thread: ThreadPoolExecutor
    datapath: Datapath
    engine: Engine
    store: Store
    desired: State
    timeline: Timeline
    listener: socket.socket | None = None
    took_over: TookOver | None = None


def boot(settings: Settings, timeline: Timeline) -> Booted:
    """Take the locks, start the datapath and restore the ports.

    :raises errors.StateInUse: another daemon serves this state.
    :raises errors.StateError: another one has the control socket, or the state is unreadable.
    :raises errors.DatapathError: the datapath does not start.  A port that
        cannot be served is no error here, but a setback of the engine.
    """
    _make_directories(settings)
    locks = _lock(settings)
    thread = datapath_thread()
    starting = thread.submit(start_datapath, settings.datapath_class, settings.options)

    # DPDK takes longer than this, and does not hold the interpreter meanwhile.
    from vhost_brick_plugin import netlink
    from vhost_brick_plugin.daemon.engine import Engine
    from vhost_brick_plugin.daemon.store import Store

    store = Store(settings.state_dir, settings.api_access.gid)
    desired = store.load()
    datapath = starting.result()
    timeline.mark("datapath")
    engine = Engine(datapath, netlink, settings.port_access)
    thread.submit(engine.restore, desired).result()
    timeline.mark("ports")
    return Booted(
        settings=settings,
        locks=locks,
        thread=thread,
        datapath=datapath,
        engine=engine,
        store=store,
        desired=desired,
        timeline=timeline,
    )


def _make_directories(settings: Settings) -> None:
    group = Access(gid=settings.api_access.gid)
    sockets.make_directory(settings.state_dir, STATE_DIR_MODE, group)
    sockets.make_directory(os.path.dirname(settings.api_socket), sockets.PARENT_MODE, Access())
    sockets.make_directory(settings.socket_dir, sockets.DIRECTORY_MODE, settings.port_access)


def lock_state(settings: Settings, *, wait: bool = False) -> Lock:
    """Take the lock on the state: who has it serves, and nobody else."""
    path, what = os.path.join(settings.state_dir, "lock"), f"state_dir {settings.state_dir}"
    return Lock(path, what, wait=wait)


def lock_api(settings: Settings, *, wait: bool = False) -> Lock:
    """Take the lock on the control socket."""
    what = f"api_socket {settings.api_socket}"
    return Lock(settings.api_socket + ".lock", what, wait=wait)


def lock_standby(settings: Settings) -> Lock:
    """Take the lock of who stands by, and nobody else."""
    path, what = (
        os.path.join(settings.state_dir, "standby.lock"),
        f"state_dir {settings.state_dir}",
    )
    return Lock(path, what)


def _lock(settings: Settings) -> tuple[Lock, ...]:
    # Who stands by and has not got the state's lock yet may serve already: daemon/standby.py.
    guard = lock_standby(settings)
    try:
        state = lock_state(settings)
    finally:
        guard.release()
    try:
        return (state, lock_api(settings))
    except errors.StateInUse as e:
        # Whoever that is serves another state, so there is nothing to stand by for.
        raise errors.StateError(
            e.message, hint="Stop it first, or give each daemon its own [daemon] api_socket."
        ) from e


def datapath_thread() -> ThreadPoolExecutor:
    """Return the thread for all that touches the datapath.

    DPDK wants to be started and called by one thread, and the event loop must stay free.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="datapath")


def start_datapath(datapath_class: str, options: Options) -> Datapath:
    """Return the datapath of that class (``module:Class``), started."""
    module, _, name = datapath_class.partition(":")
    try:
        datapath = cast(Datapath, getattr(importlib.import_module(module), name)())
    except (ImportError, AttributeError) as e:
        raise errors.DatapathError(
            f"cannot load the datapath {datapath_class}: {e}",
            hint="Install the package with its native part, and the DPDK it was built for.",
        ) from e
    datapath.start(options)
    return datapath
