# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick-hook``: libvirt's ``qemu`` hook, which makes the ports of a domain.

libvirt calls it with its lock on the domain held, so nothing here talks to libvirt: the
domain's document comes on stdin, and all that is done is done by vhost-brickd.  It acts
where a port has to be there (``prepare``) and where the VM is gone (``release``); at any
other point a failure would harm a guest for nothing, above all at ``reconnect``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods, options, retry
from vhost_brick_plugin.libvirt import metadata, owned

ACTIONS: dict[str, Callable[[owned.Call, str], None]] = {
    "prepare": owned.make_all,
    "release": owned.remove_all,
}
"""By libvirt's operation; it does nothing at the others, and prints nothing ever."""

EXIT_FAILED = 1


def main(argv: Sequence[str] | None = None, stdin: BinaryIO | None = None) -> int:
    """Run the hook; return its exit status, which fails a start and is logged at a release."""
    args = _parser().parse_args(argv)
    action = ACTIONS.get(args.operation)
    if action is None:
        return 0
    document = (stdin or sys.stdin.buffer).read().decode(errors="replace")
    if metadata.NAMESPACE not in document:
        return 0

    def call(request: methods.Method[Any]) -> Any:
        return retry.call(args.api_socket, request, args.timeout)

    try:
        action(call, document)
    except errors.VhostBrickError as error:
        print(f"vhost-brick: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vhost-brick-hook",
        description="The ports of a libvirt domain come and go with it. For "
        "/etc/libvirt/hooks/qemu.d/; the domain's document is read from stdin.",
    )
    options.add(parser, "the daemon may take to answer, a restart included")
    for name in ("domain", "operation", "suboperation", "extra"):
        parser.add_argument(name)
    return parser


if __name__ == "__main__":
    sys.exit(main())
