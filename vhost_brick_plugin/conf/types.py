# SPDX-License-Identifier: Apache-2.0
"""Option types that oslo.config lacks: lists of cores, file modes and nics."""

from __future__ import annotations

from collections.abc import Iterable

from oslo_config import types

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import devargs
from vhost_brick_plugin.model import Uplink, UplinkKind

MAX_CORE = 1023


def parse_cores(text: str) -> tuple[int, ...]:
    """Return the cores in *text*, such as ``1,3-4``, in the order written.

    :raises ValueError: *text* is no such list, or names a core twice.
    """
    cores: list[int] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = item.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{item!r} is neither a core nor a range; write '1,3-4'")
        low, high = int(first), int(last or first)
        if not low <= high <= MAX_CORE:
            raise ValueError(f"{item!r} runs backwards or beyond core {MAX_CORE}")
        cores.extend(range(low, high + 1))
    if len(set(cores)) != len(cores):
        raise ValueError(f"{text!r} names a core twice")
    return tuple(cores)


def parse_mode(text: str) -> int:
    """Return the file mode in *text*, such as ``0660``.

    :raises ValueError: *text* is not an octal number of at most 07777.
    """
    try:
        mode = int(text, 8)
    except ValueError:
        raise ValueError(f"{text!r} is not an octal file mode; write '0660'") from None
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"{text!r} is beyond 7777")
    return mode


def parse_nic(text: str) -> tuple[str, str]:
    """Return the name and the devargs in *text*, such as ``phys0:0000:81:00.0``.

    :raises ValueError: *text* is not of that form.
    """
    name, colon, args = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} is not of the form NAME:DEVARGS")
    try:
        Uplink(kind=UplinkKind.NIC, name=name)
    except errors.InvalidParams as e:
        raise ValueError(str(e)) from None
    devargs.check(args)
    return name, args


def parse_nics(texts: Iterable[str]) -> dict[str, str]:
    """Return the devargs of each nic by its name.

    :raises ValueError: a text is no nic, or two have the same name or device.
    """
    nics: dict[str, str] = {}
    for name, args in map(parse_nic, texts):
        if name in nics:
            raise ValueError(f"nic {name!r} is described twice")
        for other, taken in nics.items():
            if devargs.device(taken) == devargs.device(args):
                raise ValueError(f"nics {other!r} and {name!r} are both {devargs.device(args)!r}")
        nics[name] = args
    return nics


class CoreList(types.String):
    """A list of processor cores; its value stays text, checked."""

    def __init__(self) -> None:
        super().__init__(type_name="core list")

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        parse_cores(text)
        return text


class Nic(types.MultiString):
    """A name and devargs; its value stays text, checked."""

    def __init__(self) -> None:
        super().__init__(type_name="NAME:DEVARGS, multi valued")

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        parse_nic(text)
        return text


class FileMode(types.String):
    """An octal file mode; its value stays text, checked."""

    def __init__(self) -> None:
        super().__init__(type_name="octal mode")

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        parse_mode(text)
        return text
