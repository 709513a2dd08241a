# SPDX-License-Identifier: Apache-2.0
"""The C API in Python's words: text, errors and counters.  The native module's only importer.

See ``native/include/vhost_brick.h`` for what the functions of :data:`lib` do.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath._native import ffi as ffi
from vhost_brick_plugin.datapath._native import lib as lib
from vhost_brick_plugin.report import Counters

HINTS = {
    errno.ENOMEM: "Raise [dpdk] memory_mb, or free memory on the host.",
    errno.EPERM: "vhost-brickd needs CAP_NET_ADMIN for this.",
    errno.EBUSY: "Another program holds it.",
}


_kept: weakref.WeakKeyDictionary[Any, tuple[Any, ...]] = weakref.WeakKeyDictionary()


def keeping(struct: Any, *parts: Any) -> Any:
    """Return *struct*, and let *parts*, which it points to, live as long as it does.

    C memory belongs to the Python object that made it; a pointer to it keeps nothing alive.
    """
    _kept[struct] = parts
    return struct


def text(c_string: Any) -> str:
    """Return a C string, whatever bytes are in it."""
    return str(ffi.string(c_string).decode(errors="replace"))


def _texts(function: Any) -> list[str]:
    """Return the texts of a C enumeration that ends with NULL."""
    texts: list[str] = []
    while (found := function(len(texts))) != ffi.NULL:
        texts.append(text(found))
    return texts


DROPS = _texts(lib.vb_drop_name)
DROP_MEANINGS = _texts(lib.vb_drop_meaning)
FAULTS = _texts(lib.vb_fault_name)
DECISIONS = _texts(lib.vb_decision_name)
DECISION_MEANINGS = _texts(lib.vb_decision_meaning)


def check(
    result: int,
    what: str,
    error: type[errors.VhostBrickError] = errors.DatapathError,
    hints: Mapping[int, str] = HINTS,
) -> None:
    """Raise *error* about *what* if *result* is a negative errno.

    :param hints: what to do, by errno; those that all calls have in common need not be in it.
    """
    if result < 0:
        code = -result
        hint = hints.get(code) or HINTS.get(code)
        raise error(f"{what}: {os.strerror(code)}", hint=hint)


def create(function: Callable[..., int], *args: Any, **about: Any) -> Any:
    """Return the brick that *function* makes; *about* is for :func:`check`."""
    out = ffi.new("struct vb_brick **")
    check(function(*args, out), **about)
    return out[0]


def destroy(brick: Any, what: str) -> None:
    """Destroy *brick*; raise DatapathError if others are still joined to it."""
    check(lib.vb_brick_destroy(brick), what)


def counters(brick: Any) -> Counters:
    """Return the counters of *brick*."""
    raw = ffi.new("struct vb_stats *")
    lib.vb_brick_stats(brick, raw)
    return _counters(raw)


def gone_counters() -> Counters:
    """Return the counters of all bricks that were destroyed."""
    raw = ffi.new("struct vb_stats *")
    lib.vb_gone_stats(raw)
    return _counters(raw)


def _counters(raw: Any) -> Counters:
    return Counters(
        from_peer_packets=raw.from_peer_packets,
        from_peer_bytes=raw.from_peer_bytes,
        to_peer_packets=raw.to_peer_packets,
        to_peer_bytes=raw.to_peer_bytes,
        made_packets=raw.made_packets,
        drops={name: int(raw.drops[i]) for i, name in enumerate(DROPS) if raw.drops[i]},
    )
