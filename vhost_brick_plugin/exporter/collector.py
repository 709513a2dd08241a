# SPDX-License-Identifier: Apache-2.0
"""Asks the daemon each time that Prometheus asks us."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from prometheus_client.registry import Collector

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.exporter import metrics
from vhost_brick_plugin.exporter.page import Family, Page, Seen, fill

LOG = logging.getLogger(__name__)


class DaemonCollector(Collector):
    """The metrics of the daemon that *client* reaches.

    A daemon that does not answer is a metric, not an error.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._problem = ""

    def describe(self) -> Iterable[Family]:
        """Return the metrics without values; asks nobody."""
        return Page().families()

    def collect(self) -> Iterable[Family]:
        """Return the metrics as they are now."""
        page = Page()
        try:
            fill(page, self._look())
        except errors.VhostBrickError as error:
            self._note(str(error))
            # Nothing of a daemon that went away half-way.
            page = Page()
            page.put(metrics.UP, 0)
        else:
            self._note("")
            page.put(metrics.UP, 1)
        return page.families()

    def _look(self) -> Seen:
        return Seen(
            hello=self._client.call(methods.Hello()),
            ports=self._client.call(methods.PortListCall()).ports,
            networks=self._client.call(methods.NetworkListCall()).networks,
            stats=self._client.call(methods.Stats()),
        )

    def _note(self, problem: str) -> None:
        """Log what is new."""
        if problem and problem != self._problem:
            LOG.warning("%s", problem)
        elif self._problem and not problem:
            LOG.info("vhost-brickd at %s answers again", self._client.path)
        self._problem = problem
