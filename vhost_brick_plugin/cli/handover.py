# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick handover``: another process serves, and no VM notices."""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import base

RETRY_S = 0.002


class Handover(base.ShowOne):
    """Let the standby serve: for another version or other options, and no VM notices."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        began = time.monotonic()
        old = self.client.call(methods.Handover())
        new = self._successor(old)
        took = time.monotonic() - began
        sessions = new.took_over
        return base.fields(
            {
                "from_pid": old.pid,
                "from_version": old.version,
                "to_pid": new.pid,
                "to_version": new.version,
                "sessions_kept": sessions.adopted if sessions else 0,
                "sessions_closed": sessions.closed if sessions else 0,
                "took_ms": round(1000 * took, 1),
            }
        )

    def _successor(self, old: methods.HandoverResult) -> methods.HelloResult:
        """Wait until another process answers."""
        deadline = time.monotonic() + self.client.timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(errors.DaemonUnreachable):
                hello = self.client.call(methods.Hello())
                if hello.pid != old.pid:
                    return hello
            time.sleep(RETRY_S)
        raise errors.DaemonTimeout(
            f"process {old.pid} has handed over, but process {old.standby_pid} has not answered "
            f"within {self.client.timeout:g} s",
            hint="See the log of the second one; 'vhost-brick status' tells who serves.",
        )
