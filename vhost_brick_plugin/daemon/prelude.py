# SPDX-License-Identifier: Apache-2.0
"""``vhost-brickd``: what the process does before it imports the daemon.

To import the daemon takes as long as to start DPDK, so that is begun first, by what
the last start has left (:mod:`.fastpath`).  Nothing is imported here, nor by what is
imported here, that takes time.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

from vhost_brick_plugin.daemon import fastpath
from vhost_brick_plugin.datapath import prelude


def main() -> int:
    """Run the daemon; return its exit status."""
    prepare_process()
    argv = sys.argv[1:]
    record = fastpath.read(argv)
    if record is not None and record.get("prelude"):
        prelude.begin(record["prelude"])

    from vhost_brick_plugin.daemon import main as daemon

    status = daemon.main(argv, record)
    if status != 0 and prelude.log_pipe is not None:
        # DPDK may still be starting, with libraries that must not be taken down meanwhile.
        sys.stderr.flush()
        os._exit(status)
    return status


def prepare_process() -> None:
    """Set what threads and children inherit, and what files are made with."""
    # Until the event loop handles signals nobody does, and no other thread ever shall.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    # Not a reason to cut off guests.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Sockets and files get their rights after they are made: before that, nobody else's.
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
