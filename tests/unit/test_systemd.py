# SPDX-License-Identifier: Apache-2.0
"""The unit files say what the daemon does."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

import vhost_brick_plugin
from vhost_brick_plugin.daemon.main import EXIT_REFUSED

UNITS = Path(vhost_brick_plugin.__file__).parents[1] / "etc" / "systemd"


def section(unit: str, name: str = "Service") -> dict[str, list[str]]:
    """Return what a section says: options may be given several times, unlike in ini files."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    here = ""
    for line in (UNITS / unit).read_text().splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif line and not line.startswith("#"):
            option, _, value = line.partition("=")
            found[here][option].append(value)
    return {option: list(values) for option, values in found[name].items()}


def test_the_pair_is_run_as_the_single_one_is() -> None:
    assert section("vhost-brickd@.service") == section("vhost-brickd.service")


def test_what_is_refused_is_not_tried_again() -> None:
    assert section("vhost-brickd@.service")["RestartPreventExitStatus"] == [str(EXIT_REFUSED)]


@pytest.mark.parametrize(
    "unit", ["vhost-brickd.service", "vhost-brickd@.service", "vhost-brick-exporter.service"]
)
def test_it_is_started_again_for_ever(unit: str) -> None:
    """In [Service] systemd would overlook the limit, and give up after five starts."""
    assert section(unit, "Unit")["StartLimitIntervalSec"] == ["0"]
    assert section(unit)["Restart"] == ["always"]
