# SPDX-License-Identifier: Apache-2.0
"""The command ``vhost-brick-exporter``: a page for Prometheus over HTTP."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from vhost_brick_plugin.api import client
from vhost_brick_plugin.api.options import add as add_options
from vhost_brick_plugin.exporter.collector import DaemonCollector
from vhost_brick_plugin.version import version

LOG = logging.getLogger(__name__)

DEFAULT_LISTEN = "127.0.0.1:9797"
PATIENCE_S = 10.0
"""A client may take so long for its request."""

Address = tuple[str, int]


class Handler(WSGIRequestHandler):
    """Answers one client, and says nothing of it."""

    timeout = PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Log a request where somebody wants to know that much."""
        LOG.debug("%s: " + format, self.client_address[0], *args)


class Server(ThreadingMixIn, WSGIServer):
    """Serves the metrics of the daemon that *daemon* reaches, at *address*.

    :raises OSError: nobody can listen there.
    """

    daemon_threads = True

    def __init__(self, address: Address, daemon: client.Client) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)
        # Without the metrics of this process, which nobody has asked for.
        registry = CollectorRegistry()
        registry.register(DaemonCollector(daemon))
        self.set_app(make_wsgi_app(registry))


def listen_address(text: str) -> Address:
    """Parse ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``, for argparse."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ADDRESS:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vhost-brick-exporter",
        description="Serve the counters of vhost-brickd to Prometheus.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version()}")
    parser.add_argument(
        "--listen",
        type=listen_address,
        metavar="ADDRESS:PORT",
        default=DEFAULT_LISTEN,
        help="where to serve them; anybody who can connect can read them (default: %(default)s)",
    )
    add_options(parser, "each answer of the daemon may take")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until killed; return 1 if that is not possible."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    host, port = options.listen
    try:
        server = Server((host, port), client.Client(options.api_socket, options.timeout))
    except OSError as error:
        print(
            f"error: cannot listen on {host} port {port}: {error.strerror or error}\n"
            "hint: Name another address of this host, or a free port, by --listen.",
            file=sys.stderr,
        )
        return 1
    with server:
        LOG.info("Serving the metrics of vhost-brickd at %s: %s", options.api_socket, url(server))
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def url(server: Server) -> str:
    """Return where *server* serves."""
    host, port = server.server_address[:2]
    shown = f"[{host!s}]" if server.address_family == socket.AF_INET6 else host
    return f"http://{shown!s}:{port}/metrics"


if __name__ == "__main__":
    sys.exit(main())
