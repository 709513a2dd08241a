# SPDX-License-Identifier: Apache-2.0
"""A web server, and the program ``wsgi.py FD``: Neutron's REST API on a socket handed down.

Neutron brings the application and leaves the web server to the operator.  This
one needs nothing but the standard library.
"""

from __future__ import annotations

import socket
import socketserver
import sys
from typing import Any
from wsgiref import simple_server


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """A thread a request."""

    daemon_threads = True


class Handler(simple_server.WSGIRequestHandler):
    """Does not ask the name server who it is talking to."""

    def address_string(self) -> str:
        return str(self.client_address[0])


def serve(listener: socket.socket, application: Any) -> None:
    """Answer requests, for ever."""
    server = Server(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = listener.getsockname()
    server.setup_environ()
    server.set_app(application)
    server.serve_forever()


def main() -> None:
    listener = socket.socket(fileno=int(sys.argv.pop(1)))
    from oslo_service import backend

    # As neutron's own commands do, and before it is imported.
    backend.init_backend(backend.BackendType.THREADING)
    from neutron.wsgi import api

    serve(listener, api.application)


if __name__ == "__main__":
    main()
