# SPDX-License-Identifier: Apache-2.0
"""The lives of ports."""

from vhost_brick_plugin.api.methods import Event
from vhost_brick_plugin.daemon.lives import Lives


def test_what_happened_first_is_told_first_whenever_it_was_heard_of() -> None:
    lives = Lives()
    for time, kind in (3.0, "port_restored"), (1.0, "session_adopted"), (1.0, "session_running"):
        lives.note(Event(time=time, kind=kind, port="p"))
    told = [happening.what for happening in lives.of("p")]
    assert told == ["session_adopted", "session_running", "port_restored"]
