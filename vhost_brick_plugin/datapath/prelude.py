# SPDX-License-Identifier: Apache-2.0
"""DPDK's environment, begun before the daemon is imported: half of what a start has to do.

Imports nothing but the native module, and that only when there is something to begin.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # As typing's, without the import.
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

log_pipe: tuple[int, int] | None = None
"""The ends of the pipe that DPDK logs to, once it has begun."""

_kept: list[Any] = []
"""What C reads until the datapath is started."""


def make_log_pipe() -> tuple[int, int]:
    """Return the read end and the write end of a pipe for DPDK's log."""
    ends = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ends[1], False)
    return ends


def begin(what: Mapping[str, Any]) -> None:
    """Start DPDK in the background; whoever starts the datapath is told how that went.

    :param what: :meth:`.base.Datapath.prelude`'s, of the options that it will be started with.
    """
    global log_pipe

    from vhost_brick_plugin.datapath._native import ffi, lib

    log_pipe = make_log_pipe()
    lib.vb_log_to(log_pipe[1])
    os.environ.update(what["environment"])
    options = native_options(ffi, what)
    _kept.append(options)
    lib.vb_prelude(options[0])


def native_options(ffi: Any, what: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a ``struct vb_options`` with DPDK's part of it, and what it points to."""
    native = ffi.new("struct vb_options *")
    texts = [ffi.new("char[]", arg.encode()) for arg in what["eal_args"]]
    args = ffi.new("const char *const[]", texts)
    control = ffi.new("int32_t[]", what["control_cores"])
    native.eal_args, native.nb_eal_args = args, len(texts)
    native.control_cores, native.nb_control_cores = control, len(what["control_cores"])
    native.nb_workers = len(what["worker_cores"])
    for i, core in enumerate(what["worker_cores"]):
        native.worker_cores[i] = core
    return native, texts, args, control
