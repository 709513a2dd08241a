# SPDX-License-Identifier: Apache-2.0
"""The daemon's life, once :mod:`.prelude` has begun it.

Ports first, all else later.  See :mod:`.boot` for the first part and
:mod:`.fastpath` for how the configuration is known before it is read; what is
imported inside functions here is imported late on purpose.  Where another daemon
serves, this one may stand by for it first: see :mod:`.dormant` and :mod:`.standby`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon import fastpath
from vhost_brick_plugin.daemon.boot import Booted, boot
from vhost_brick_plugin.daemon.earlylog import EarlyLog
from vhost_brick_plugin.daemon.settings import Settings
from vhost_brick_plugin.daemon.timeline import Timeline

if TYPE_CHECKING:
    from vhost_brick_plugin.daemon.dormant import Dormant

LOG = logging.getLogger(__name__)

EXIT_REFUSED = 3
"""There is nothing to stand by for as things are: not worth trying again at once."""


def main(argv: Sequence[str], record: Mapping[str, Any] | None) -> int:
    """Run the daemon; return its exit status.

    :param record: what the last start has left, if it holds for this one.
    """
    timeline = Timeline()
    timeline.mark("process")
    log = EarlyLog()
    try:
        _run(argv, record, timeline, log)
        return 0
    except errors.VhostBrickError as e:
        problem = e
    # Out of the handler, where oslo.log would say everything twice.
    LOG.critical("%s", problem)
    log.dump()
    return EXIT_REFUSED if isinstance(problem, errors.StandbyRefused) else 1


def _run(
    argv: Sequence[str], record: Mapping[str, Any] | None, timeline: Timeline, log: EarlyLog
) -> None:
    recalled = fastpath.settings_of(record) if record is not None else None
    if record is not None and recalled is None:
        _begin_again(argv)
    settings = recalled or _configured(argv)
    timeline.mark("settings")
    try:
        started = _serve_or_stand_by(settings, timeline)
    except errors.DatapathError:
        if recalled is None:
            raise
        # The host has changed since the record was made (hugepages, cores).
        _begin_again(argv)
    _live(argv, started, timeline, log)


def _begin_again(argv: Sequence[str]) -> NoReturn:
    """Start without the record: DPDK starts once in a process."""
    fastpath.forget(argv)
    os.execv(sys.executable, sys.orig_argv)


def _configured(argv: Sequence[str]) -> Settings:
    from vhost_brick_plugin.daemon import configure

    return configure.resolve(configure.load(argv))


def _serve_or_stand_by(settings: Settings, timeline: Timeline) -> Booted | Dormant:
    try:
        return boot(settings, timeline)
    except errors.StateInUse:
        if not settings.standby:
            raise
    from vhost_brick_plugin.daemon.dormant import prepare

    return prepare(settings, timeline)


def _live(
    argv: Sequence[str], started: Booted | Dormant, timeline: Timeline, log: EarlyLog
) -> None:
    import asyncio

    from oslo_log import log as oslo_log

    from vhost_brick_plugin.daemon import configure
    from vhost_brick_plugin.daemon.app import App, catch_signals
    from vhost_brick_plugin.version import version

    conf = configure.load(argv)
    oslo_log.setup(conf, "vhost-brick")
    log.replay()
    known = version()

    def remember(booted: Booted) -> None:
        options = booted.settings.options
        fastpath.remember(argv, booted.settings, booted.datapath.prelude(options))

    async def run() -> None:
        stop = catch_signals()
        if isinstance(started, Booted):
            booted = started
            remember(booted)
        else:
            from vhost_brick_plugin.daemon.standby import Standby

            turned = await Standby(started, known, stop).wait(timeline)
            if turned is None:
                return
            booted = turned
            # The record is the one's who serves.
            asyncio.get_running_loop().run_in_executor(None, remember, booted)
        handed_over = await App(booted, configure.dump(conf), known, stop).run()
        if handed_over:
            # Another one serves and waits for what this process still holds.
            logging.shutdown()
            os._exit(0)

    asyncio.run(run())
