# SPDX-License-Identifier: Apache-2.0
"""Nova in a process of its own: ``nova_services.py FD,FD,... CONFIG_FILE...``.

All of Nova's services run in it, as :class:`tests.nova.cloud.Cloud` has them and with
its stubs, but for one: Neutron is the real one, reached by Nova's own client.

Its API is served on each of the sockets that are handed down, and as much of Glance's
as it takes to name the one image, of the lab's guest.

Keystone is missing here too: whoever asks is an administrator of the one project.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.nova.cloud import Cloud  # First: it settles how Nova's threads are.

import fixtures  # isort: skip
from tests.neutron.wsgi import serve
from tests.nova.images import Images
from tests.openstack.cli import PROJECT
from tools.lab.lab import build_guest
from tools.lab.stand import CACHE_DIR

IMAGE = "guest"

LINKS = [{"rel": "self", "href": "/image/v2/"}]
"""Where version 2 of Glance's API says it is."""

IDENTITY = {
    "HTTP_X_AUTH_USER": "admin",
    "HTTP_X_AUTH_PROJECT_ID": PROJECT,
    "HTTP_X_ROLES": "reader,member,admin,service",
}

Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], object]


class Application:
    """Nova's API, and under ``/image`` what is left of Glance.

    :param image: the id of the image whose name is :data:`IMAGE`.
    """

    def __init__(self, nova: Any, image: str) -> None:
        self._nova = nova
        self._glance = {
            "/image/v2": {"version": {"id": "v2.0", "status": "CURRENT", "links": LINKS}},
            f"/image/v2/images/{IMAGE}": {"id": image, "name": IMAGE, "status": "active"},
        }

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        answer = self._glance.get(environ["PATH_INFO"].rstrip("/"))
        if answer is None:
            return self._nova(environ | IDENTITY, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


def main() -> None:
    fds, *files = sys.argv[1:]
    cloud = Cloud([Path(file) for file in files], lambda _cloud: fixtures.Fixture())
    cloud.setUp()
    logging.getLogger().addHandler(logging.StreamHandler())
    image = Images(cloud.glance, build_guest(CACHE_DIR)).add_disk([])
    application = Application(cloud.application, image)
    for fd in fds.split(","):
        listener = socket.socket(fileno=int(fd))
        threading.Thread(target=serve, args=(listener, application)).start()


if __name__ == "__main__":
    main()
