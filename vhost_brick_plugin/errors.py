# SPDX-License-Identifier: Apache-2.0
"""Every error this project raises on purpose.

One hierarchy, used on both ends of the control socket: the daemon sends
``slug``, message and hint, and the client raises the very same class again
(:func:`from_wire`).  The message says what is wrong and names who (port, path,
option); the hint says what to do about it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class VhostBrickError(Exception):
    """Base class.

    :cvar slug: the stable name of the error, for scripts and the wire.
    :cvar rpc_code: the number JSON-RPC 2.0 wants beside it.
    :cvar default_hint: what to do, where the raiser knows nothing better.
    """

    slug: ClassVar[str] = "internal"
    rpc_code: ClassVar[int] = -32603
    default_hint: ClassVar[str] = "This is a bug: please report it with the daemon's log."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


# -- the request itself ------------------------------------------------------


class ParseError(VhostBrickError):
    slug = "parse_error"
    rpc_code = -32700
    default_hint = "Send one JSON object a line, ended by a newline."


class RequestTooLarge(VhostBrickError):
    slug = "request_too_large"
    rpc_code = -32001
    default_hint = "Split the work into smaller requests."


class InvalidRequest(VhostBrickError):
    slug = "invalid_request"
    rpc_code = -32600
    default_hint = "Send a JSON-RPC 2.0 object with jsonrpc, id, method and params (an object)."


class MethodNotFound(VhostBrickError):
    slug = "method_not_found"
    rpc_code = -32601
    default_hint = "Call 'hello' for the methods this daemon has."


class InvalidParams(VhostBrickError):
    slug = "invalid_params"
    rpc_code = -32602
    default_hint = "See the API reference for the parameter's type and range."


class NotPermitted(VhostBrickError):
    slug = "not_permitted"
    rpc_code = -32002
    default_hint = "Run as root, or as a member of [daemon] api_socket_group."


class Overloaded(VhostBrickError):
    slug = "overloaded"
    rpc_code = -32003
    default_hint = "Close connections that are not in use, and try again."


# -- things that are not there, or in the way --------------------------------


class PortNotFound(VhostBrickError):
    slug = "port_not_found"
    rpc_code = -32010
    default_hint = "'vhost-brick port list' shows the ports there are."


class NetworkNotFound(VhostBrickError):
    slug = "network_not_found"
    rpc_code = -32011
    default_hint = (
        "'vhost-brick network list' shows those there are, 'vhost-brick network create NAME' "
        "makes one."
    )


class NetworkInUse(VhostBrickError):
    slug = "network_in_use"
    rpc_code = -32012
    default_hint = "Delete its ports first, or move them to another network."


class BrickNotFound(VhostBrickError):
    slug = "brick_not_found"
    rpc_code = -32018
    default_hint = "'vhost-brick graph' shows the bricks there are, 'port list' the ports."


class DuplicateMac(VhostBrickError):
    slug = "duplicate_mac"
    rpc_code = -32013
    default_hint = "Give the port a MAC that no other port of its network has."


class SocketPathInUse(VhostBrickError):
    slug = "socket_path_in_use"
    rpc_code = -32014
    default_hint = "Give each port a socket path of its own."


class InvalidSocketPath(VhostBrickError):
    slug = "invalid_socket_path"
    rpc_code = -32015
    default_hint = "Use an absolute path of at most 107 bytes in an existing directory."


class TooManyQueues(VhostBrickError):
    slug = "too_many_queues"
    rpc_code = -32016
    default_hint = "Ask for fewer queue pairs, or raise [vhost] max_queues."


class UplinkError(VhostBrickError):
    slug = "uplink_error"
    rpc_code = -32017
    default_hint = "Check the interface's name and that no other program holds it."


# -- the daemon's own state --------------------------------------------------


class StateError(VhostBrickError):
    slug = "state_error"
    rpc_code = -32020
    default_hint = "Check space and permissions of [daemon] state_dir."


class DatapathError(VhostBrickError):
    slug = "datapath_error"
    rpc_code = -32021
    default_hint = "See the daemon's log; 'vhost-brick doctor' checks what the datapath needs."


class ConfigError(VhostBrickError):
    slug = "config_error"
    rpc_code = -32022
    default_hint = "Correct the option in the config file and start again."


class StateInUse(StateError):
    slug = "state_in_use"
    rpc_code = -32023
    default_hint = (
        "Stop it first, or give each daemon its own [daemon] state_dir and api_socket; or let "
        "this one stand by for it: [daemon] standby = on."
    )


class StandbyRefused(StateError):
    slug = "standby_refused"
    rpc_code = -32024
    default_hint = "See the log of the daemon that serves."


# -- handing over ------------------------------------------------------------


class NoStandby(VhostBrickError):
    slug = "no_standby"
    rpc_code = -32025
    default_hint = (
        "Start a second vhost-brickd with the same state_dir and api_socket, and [daemon] "
        "standby = on; 'vhost-brick status' shows it."
    )


class StandbyBehind(VhostBrickError):
    slug = "standby_behind"
    rpc_code = -32026
    default_hint = "Wait until 'vhost-brick status' says that it is in sync; see its log if not."


class OfferShrinks(VhostBrickError):
    slug = "offer_shrinks"
    rpc_code = -32027
    default_hint = (
        "Take a version that has what the first one offered, or delete and create the port "
        "while its VM is off."
    )


# -- on the caller's side ----------------------------------------------------


class DaemonUnreachable(VhostBrickError):
    slug = "daemon_unreachable"
    rpc_code = -32030
    default_hint = "Start vhost-brickd, or check [daemon] api_socket and who may open it."


class DaemonTimeout(DaemonUnreachable):
    slug = "daemon_timeout"
    rpc_code = -32031
    default_hint = "The daemon hangs or is overloaded: see its log, restart it if it is stuck."


class DomainError(VhostBrickError):
    slug = "domain_error"
    rpc_code = -32040
    default_hint = "'virsh list --all' shows the domains; 'vhost-brick domain check' looks at one."


class SharedMemoryMissing(DomainError):
    slug = "shared_memory_missing"
    rpc_code = -32041
    default_hint = (
        "Add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking> "
        "or hugepages with shared access to the domain."
    )


class ProgramError(VhostBrickError):
    slug = "program_error"
    rpc_code = -32050
    default_hint = "Run the program by hand to see what ails it."


def _subclasses(cls: type[VhostBrickError]) -> list[type[VhostBrickError]]:
    found = [cls]
    for sub in cls.__subclasses__():
        found.extend(_subclasses(sub))
    return found


BY_SLUG: dict[str, type[VhostBrickError]] = {c.slug: c for c in _subclasses(VhostBrickError)}


def to_wire(error: VhostBrickError) -> dict[str, Any]:
    """Return the JSON-RPC error object of *error*."""
    return {
        "code": error.rpc_code,
        "message": error.message,
        "data": {"slug": error.slug, "hint": error.hint},
    }


def from_wire(obj: dict[str, Any]) -> VhostBrickError:
    """Return the exception that the other end raised.

    An unknown slug (a newer daemon) becomes the base class, with nothing lost
    of message and hint.
    """
    data = obj.get("data") or {}
    cls = BY_SLUG.get(str(data.get("slug", "")), VhostBrickError)
    return cls(str(obj.get("message", "unknown error")), hint=data.get("hint"))
