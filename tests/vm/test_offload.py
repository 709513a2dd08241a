# SPDX-License-Identifier: Apache-2.0
"""Real guests leave checksums and segments to their network card, which is us."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tools.lab.iperf import NO_OFFLOADS, End, boot, build_image
from tools.lab.stand import CACHE_DIR, Host, Stand, work_dir
from vhost_brick_plugin import features

WITH, WITHOUT = (), NO_OFFLOADS

OFFLOADS = {"CSUM", "GUEST_CSUM", "HOST_TSO4", "HOST_TSO6", "GUEST_TSO4", "GUEST_TSO6"}

SECONDS = 2

VERSIONS = pytest.mark.parametrize("version", [4, 6])
WAYS = pytest.mark.parametrize(
    ("sender", "receiver"),
    [(0, 1), (0, 2), (2, 0)],
    ids=["between two with", "to one without", "from one without"],
)


@pytest.fixture(scope="module")
def iperf(logged: Callable[[Stand], None]) -> Iterator[tuple[Stand, list[End]]]:
    """Return a stand with three guests, two with offloads and one without."""
    with work_dir("vb-iperf") as directory, Stand(Host.probe(), directory) as stand:
        logged(stand)
        stand.create_network()
        yield stand, boot(stand, build_image(CACHE_DIR), (WITH, WITH, WITHOUT))


def _accepted(stand: Stand, end: End) -> set[str]:
    (session,) = stand.show("port", "show", end.guest.name)["sessions"]
    return OFFLOADS.intersection(features.names(session["features"]))


def test_guests_agree_to_offloads(iperf: tuple[Stand, list[End]]) -> None:
    """Else the other tests would show nothing."""
    stand, ends = iperf
    assert [_accepted(stand, end) for end in ends] == [OFFLOADS, OFFLOADS, set()]


@VERSIONS
@WAYS
def test_files_arrive(
    iperf: tuple[Stand, list[End]], version: int, sender: int, receiver: int
) -> None:
    _stand, ends = iperf
    sent, got = ends[sender].copy(ends[receiver], version, size_mib=2)
    assert got == sent


@VERSIONS
@WAYS
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_no_checksum_is_wrong(
    iperf: tuple[Stand, list[End]], version: int, sender: int, receiver: int, protocol: str
) -> None:
    stand, ends = iperf
    before = stand.show("port", "stats", ends[sender].guest.name)
    options = ("-u", "-b", "100M", "-l", "1400") if protocol == "udp" else ()
    ends[sender].iperf(ends[receiver], version, *options, seconds=SECONDS)
    assert [n for end in ends for n in end.errors().values() if n] == []
    if protocol == "tcp" and sender == 0:
        after = stand.show("port", "stats", ends[sender].guest.name)
        packets, size = (
            after[key] - before[key] for key in ("from_peer_packets", "from_peer_bytes")
        )
        assert size / packets > 4000, "segments are not left to us"
