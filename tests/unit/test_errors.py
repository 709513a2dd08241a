# SPDX-License-Identifier: Apache-2.0
"""Errors keep their class, message and hint over the wire."""

from __future__ import annotations

import json

import pytest

from vhost_brick_plugin import errors

ALL = list(errors.BY_SLUG.values())


@pytest.mark.parametrize("cls", ALL, ids=lambda c: c.slug)
def test_every_error_survives_the_wire(cls: type[errors.VhostBrickError]) -> None:
    sent = cls("port p is odd", hint="make it even")
    received = errors.from_wire(json.loads(json.dumps(errors.to_wire(sent))))
    assert type(received) is cls
    assert (received.message, received.hint) == ("port p is odd", "make it even")
    assert str(received) == "port p is odd (make it even)"


@pytest.mark.parametrize("cls", ALL, ids=lambda c: c.slug)
def test_every_error_has_a_hint_of_its_own(cls: type[errors.VhostBrickError]) -> None:
    assert cls("x").hint == cls.default_hint
    assert cls.default_hint.endswith(".")


def test_slugs_and_codes_tell_errors_apart() -> None:
    assert len({c.rpc_code for c in ALL}) == len(ALL)
    assert all(c.slug == slug for slug, c in errors.BY_SLUG.items())


def test_an_unknown_slug_keeps_message_and_hint() -> None:
    wire = {"code": -1, "message": "new trouble", "data": {"slug": "new", "hint": "update"}}
    received = errors.from_wire(wire)
    assert type(received) is errors.VhostBrickError
    assert (received.message, received.hint) == ("new trouble", "update")


def test_an_error_of_another_server_is_no_crash() -> None:
    assert errors.from_wire({"message": "no"}).message == "no"
