# SPDX-License-Identifier: Apache-2.0
"""Serves Neutron's REST API on a socket that is handed down: ``wsgi.py FD``.

Neutron brings the application and leaves the web server to the operator.  This
one needs nothing but the standard library.
"""

from __future__ import annotations

import socket
import socketserver
import sys
from wsgiref import simple_server

from oslo_service import backend


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """A thread a request."""

    daemon_threads = True


class Handler(simple_server.WSGIRequestHandler):
    """Does not ask the name server who it is talking to."""

    def address_string(self) -> str:
        return str(self.client_address[0])


def main() -> None:
    listener = socket.socket(fileno=int(sys.argv.pop(1)))
    # As neutron's own commands do, and before it is imported.
    backend.init_backend(backend.BackendType.THREADING)
    from neutron.wsgi import api

    server = Server(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = listener.getsockname()
    server.setup_environ()
    server.set_app(api.application)
    server.serve_forever()


if __name__ == "__main__":
    main()
