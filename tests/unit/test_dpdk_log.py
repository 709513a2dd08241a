# SPDX-License-Identifier: Apache-2.0
"""DPDK's log lines: levels, errors for the operator, and not too many of them."""

from __future__ import annotations

import logging
import os

import pytest

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import dpdk_log


@pytest.fixture
def pipe(caplog: pytest.LogCaptureFixture) -> dpdk_log.LogPipe:
    caplog.set_level(logging.DEBUG, logger="vhost_brick_plugin.dpdk")
    return dpdk_log.LogPipe()


def write(pipe: dpdk_log.LogPipe, *lines: str) -> list[str]:
    """Write *lines*, wait until they are read, and return the errors so far."""
    os.write(pipe.write_fd, "".join(f"{line}\n" for line in lines).encode())
    return pipe.last_errors()


def test_levels(pipe: dpdk_log.LogPipe, caplog: pytest.LogCaptureFixture) -> None:
    assert write(pipe, "4 EAL: bad", "5 EAL: hm", "7 EAL: fine", "8 EAL: chatter") == ["EAL: bad"]
    assert [(r.levelno, r.message) for r in caplog.records] == [
        (logging.ERROR, "EAL: bad"),
        (logging.WARNING, "EAL: hm"),
        (logging.INFO, "EAL: fine"),
        (logging.DEBUG, "EAL: chatter"),
    ]


def test_the_latest_errors_are_kept(pipe: dpdk_log.LogPipe) -> None:
    assert write(pipe, *(f"4 error {i}" for i in range(5))) == ["error 2", "error 3", "error 4"]


def test_an_error_is_explained_by_what_was_said_meanwhile(pipe: dpdk_log.LogPipe) -> None:
    def start() -> None:
        os.write(pipe.write_fd, b"4 no such device\n")
        raise errors.UplinkError("nic phys0", hint="look")

    write(pipe, "4 before")
    with pytest.raises(errors.UplinkError) as caught, pipe.explaining():
        start()
    assert caught.value.message == "nic phys0 (DPDK: no such device)"
    assert caught.value.hint == "look"


def test_an_error_that_nobody_explains_stays_as_it_is(pipe: dpdk_log.LogPipe) -> None:
    write(pipe, "4 before")
    with pytest.raises(errors.UplinkError) as caught, pipe.explaining():
        raise errors.UplinkError("nic phys0")
    assert caught.value.message == "nic phys0"


def test_a_flood_is_cut_off_and_counted() -> None:
    now = [100.0]
    budget = dpdk_log._Budget(3, clock=lambda: now[0])
    assert [budget.spend()[0] for _ in range(5)] == [True, True, True, False, False]
    now[0] += 1
    assert budget.spend() == (True, 2)
    now[0] += 1
    assert budget.spend() == (True, 0)
