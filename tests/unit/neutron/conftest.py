# SPDX-License-Identifier: Apache-2.0
"""Tests of the Neutron side; those that import Neutron run where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.unit.neutron.support import Host

WITH_NEUTRON = ["test_agent_loop.py", "test_agent_rpc.py", "test_agent_start.py", "test_ml2.py"]
"""They belong to `tox -e neutron`; a Nova host, and the environment `py3`, has no Neutron."""

collect_ignore = [] if importlib.util.find_spec("neutron_lib") else WITH_NEUTRON


@pytest.fixture
def host(short_dir: Path) -> Host:
    return Host(short_dir)
