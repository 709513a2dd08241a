# SPDX-License-Identifier: Apache-2.0
"""The one place where a test waits for something it gets no event for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.005
TIMEOUT = 15.0


def wait_until(
    check: Callable[[], T], what: str, timeout: float = TIMEOUT, interval: float = INTERVAL
) -> T:
    """Call *check* until it returns something true, and return that.

    :param what: what is waited for, to be read after "waited in vain for".
    :param interval: seconds from one call to the next, more where the call is dear.
    """
    deadline = time.monotonic() + timeout
    while not (result := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; last: {result!r}")
        time.sleep(interval)
    return result
