# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC 2.0 as it goes over the socket: one object a line, UTF-8.

Pure functions; both ends use them.  Limits protect the daemon from a client
that sends without end, and a client from a daemon that does.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from vhost_brick_plugin import errors

MAX_REQUEST = 64 * 1024
"""Bytes in a request line, its newline included."""

MAX_RESPONSE = 64 * 1024 * 1024
"""Bytes in an answer: thousands of ports with all their counters."""

Id = str | int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request that is well formed; its method may still be unknown."""

    id: Id
    method: str
    params: dict[str, Any]


def _line(obj: dict[str, Any]) -> bytes:
    return json.dumps(obj, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        obj = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise errors.ParseError(f"not a JSON object: {e}") from None
    if not isinstance(obj, dict):
        raise errors.InvalidRequest(f"a request is an object, not {type(obj).__name__}")
    return obj


def request_id(line: bytes) -> Id:
    """Return the id in *line* if one can be read from it at all, for an error's answer."""
    try:
        found = _object(line).get("id")
    except errors.VhostBrickError:
        return None
    return found if isinstance(found, (str, int)) and not isinstance(found, bool) else None


def encode_request(id: Id, method: str, params: dict[str, Any]) -> bytes:
    """Return the line of a request.

    :raises errors.RequestTooLarge: the daemon would refuse it.
    """
    line = _line({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    if len(line) > MAX_REQUEST:
        raise errors.RequestTooLarge(
            f"{method}: {len(line)} bytes; at most {MAX_REQUEST} are taken"
        )
    return line


def decode_request(line: bytes) -> Request:
    """Parse a request line.

    :raises errors.ParseError: it is not JSON.
    :raises errors.InvalidRequest: it is JSON, but no JSON-RPC 2.0 request.
    """
    obj = _object(line)
    if obj.get("jsonrpc") != "2.0":
        raise errors.InvalidRequest("the member 'jsonrpc' must be \"2.0\"")
    id, method, params = obj.get("id"), obj.get("method"), obj.get("params", {})
    if isinstance(id, bool) or not isinstance(id, (str, int)):
        raise errors.InvalidRequest("the member 'id' must be a string or a whole number")
    if not isinstance(method, str):
        raise errors.InvalidRequest("the member 'method' must be a string")
    if not isinstance(params, dict):
        raise errors.InvalidRequest("the member 'params' must be an object")
    return Request(id, method, params)


def encode_result(id: Id, result: Any) -> bytes:
    """Return the line of a successful answer."""
    return _line({"jsonrpc": "2.0", "id": id, "result": result})


def encode_error(id: Id, error: errors.VhostBrickError) -> bytes:
    """Return the line of a failed answer."""
    return _line({"jsonrpc": "2.0", "id": id, "error": errors.to_wire(error)})


def encode_event(event: Any) -> bytes:
    """Return the line of an event on a watched connection."""
    return _line({"jsonrpc": "2.0", "method": "event", "params": event})


def decode_answer(line: bytes) -> Any:
    """Return the result in an answer, or the parameters of an event.

    :raises errors.VhostBrickError: the answer is an error; the exact class it names.
    """
    obj = _object(line)
    if "error" in obj:
        raise errors.from_wire(obj["error"])
    if obj.get("method") == "event":
        return obj.get("params")
    if "result" not in obj:
        raise errors.InvalidRequest("the daemon's answer has neither result nor error")
    return obj["result"]
