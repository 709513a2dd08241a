# SPDX-License-Identifier: Apache-2.0
"""A client of Neutron's REST API, as far as the tests need one."""

from __future__ import annotations

import http.client
import json
from typing import Any

PROJECT = "3f2b0c1e5d6a4b7f8c9d0e1f2a3b4c5d"
TIMEOUT = 60.0
"""Seconds: a request that meets a restart waits for its end."""

INTERVAL = 0.2
"""Seconds between two looks at something that is waited for: a request is dear."""

Resource = dict[str, Any]


class ApiError(Exception):
    """The server refused a request.

    :ivar status: of HTTP.
    """

    def __init__(self, request: str, status: int, text: str) -> None:
        super().__init__(f"{request}: {status} {text}")
        self.status = status


class Api:
    """Calls a server that listens on the loopback and asks for no identity."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port

    def create(self, kind: str, *, under: str = "", **attributes: Any) -> Resource:
        """Make a resource; *under* is the path of the one it belongs to, with a slash after it."""
        body = {kind: {"project_id": PROJECT} | attributes}
        return self._call("POST", f"{under}{kind}s", body)[kind]

    def show(self, kind: str, id: str) -> Resource:
        return self._call("GET", f"{kind}s/{id}")[kind]

    def list(self, kind: str, *, under: str = "") -> list[Resource]:
        return self._call("GET", f"{under}{kind}s")[f"{kind}s"]

    def update(self, kind: str, id: str, **attributes: Any) -> Resource:
        return self._call("PUT", f"{kind}s/{id}", {kind: attributes})[kind]

    def delete(self, kind: str, id: str, *, under: str = "") -> None:
        self._call("DELETE", f"{under}{kind}s/{id}")

    def put(self, path: str) -> Any:
        """Ask for something that has no body, such as to activate a binding."""
        return self._call("PUT", path)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        headers = {"Content-Type": "application/json", "X-Project-Id": PROJECT}
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/v2.0/{path}", data, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiError(f"{method} {path}", response.status, text)
        return json.loads(text) if text else {}
