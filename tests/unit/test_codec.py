# SPDX-License-Identifier: Apache-2.0
"""JSON to dataclass and back."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping

import pytest

from vhost_brick_plugin import codec, errors


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    colour: Colour = Colour.RED
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    text: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ratio: float = 1.0
    on: bool = False


FULL = Outer(
    name="n",
    colour=Colour.BLUE,
    inner=Inner(size=1),
    many=(Inner(size=2), Inner(size=3)),
    text={"a": "b"},
    ratio=0.5,
    on=True,
)


@pytest.mark.parametrize("value", [FULL, Outer(name="n")])
def test_round_trip(value: Outer) -> None:
    assert codec.from_json(Outer, json.loads(json.dumps(codec.to_json(value)))) == value


def test_what_a_newer_program_wrote_is_read_as_far_as_it_is_known() -> None:
    data = {
        "name": "n",
        "age": 1,
        "inner": {"size": 1, "shape": {}},
        "many": [{"size": 2, "x": 0}],
    }
    read = codec.from_json(Outer, data, newer=True)
    assert read == Outer(name="n", inner=Inner(size=1), many=(Inner(size=2),))
    with pytest.raises(errors.InvalidParams, match="lacks the parameter 'name'"):
        codec.from_json(Outer, {"age": 1}, newer=True)


def test_a_whole_number_is_a_number() -> None:
    assert codec.from_json(Outer, {"name": "n", "ratio": 2}).ratio == 2.0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "call lacks the parameter 'name'"),
        ([], "call must be an object, not list"),
        ({"name": "n", "nam": 1}, "call has no parameter 'nam'"),
        ({"name": 1}, "call.name must be string, not 1"),
        ({"name": None}, "call.name must be string, not None"),
        ({"name": "n", "colour": "green"}, "call.colour must be one of 'red', 'blue'"),
        ({"name": "n", "colour": []}, "call.colour must be one of"),
        ({"name": "n", "inner": {"size": True}}, "call.inner.size must be integer, not True"),
        ({"name": "n", "inner": {"size": 1.0}}, "call.inner.size must be integer"),
        ({"name": "n", "many": {}}, "call.many must be list of object"),
        ({"name": "n", "many": [{"size": 1}, {}]}, r"call.many\[1\] lacks"),
        ({"name": "n", "text": {"a": 1}}, "call.text.a must be string"),
        ({"name": "n", "text": []}, "call.text must be object of string"),
        ({"name": "n", "on": 1}, "call.on must be boolean"),
        ({"name": "n", "ratio": True}, "call.ratio must be number"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(data: object, message: str) -> None:
    with pytest.raises(errors.InvalidParams, match=message):
        codec.from_json(Outer, data, "call")


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(errors.InvalidParams) as caught:
        codec.from_json(Outer, {"name": ["x" * 1000]}, "call")
    assert len(caught.value.message) < 120


def test_a_type_without_codec_is_a_programming_error() -> None:
    @dataclasses.dataclass
    class Odd:
        value: bytes

    Odd.__annotations__["value"] = bytes
    with pytest.raises(TypeError, match="no codec"):
        codec.from_json(Odd, {"value": "x"})
