# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick capture``: the packets of a port, for Wireshark, tcpdump and their like.

The datapath writes the file; this copies it from the connection to where it shall go, without
a look at packets, and says at the end what the file's last block says.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods, options
from vhost_brick_plugin.cli import base, bpf, numbers, pcapng
from vhost_brick_plugin.cli.pcapng import Totals
from vhost_brick_plugin.probes import BUFFER, MAX_BUFFER, Direction

STDOUT = "-"
AT_ONCE = 1 << 18
"""Bytes; a socket holds no more."""

MIB = 1 << 20
DIRECTIONS = {
    "both": Direction.BOTH,
    "from-guest": Direction.FROM_PEER,
    "to-guest": Direction.TO_PEER,
}


class Capture(base.Command):
    """Write the packets of a port to a file or a pipe as pcapng, both directions.

    Until it is interrupted, or a limit is reached.  Packets that find no room are missing in
    the capture, and are counted; the port loses none by it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "port",
            metavar="PORT",
            help="a port, or the brick of an uplink, such as tap/blue0: see 'graph'",
        )
        parser.add_argument(
            *("-w", "--write"),
            metavar="FILE",
            required=True,
            help="where to; an existing file is overwritten; '-': stdout, which is no terminal",
        )
        parser.add_argument(
            "--filter",
            metavar="EXPR",
            help="only packets of which this is true, in tcpdump's language: pcap-filter(7)",
        )
        parser.add_argument(
            "--direction",
            choices=tuple(DIRECTIONS),
            default="both",
            help="only what the guest (or an uplink's wire) sends, or what it is given",
        )
        parser.add_argument(
            *("-s", "--snaplen"),
            type=numbers.count_or_none,
            metavar="BYTES",
            default=0,
            help="keep so many bytes of each packet; 0, the default: all",
        )
        parser.add_argument(
            *("-c", "--count"), type=numbers.count, metavar="N", help="end after so many packets"
        )
        parser.add_argument(
            "--seconds", type=options.seconds, metavar="SECONDS", help="end after so long"
        )
        parser.add_argument(
            "--buffer",
            type=_mebibytes,
            metavar="MIB",
            default=BUFFER,
            help=f"the daemon's memory for packets that wait to be written, 1 to "
            f"{MAX_BUFFER // MIB} (default: {BUFFER // MIB})",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        request = _request(parsed_args)
        began = time.monotonic()
        with _output(parsed_args.write) as out:
            answer, connection, begin = self.client.capture(request)
            with connection, _Interruption(connection) as interruption:
                self.tell(f"capturing at {answer.brick}; Ctrl-C ends it")
                totals = _fill(out, parsed_args.write, connection, begin)
        if totals is None:
            raise _broken_off(self.client.path, parsed_args.write)
        is_over = request.seconds and time.monotonic() - began >= request.seconds
        if not (interruption.came or is_over or totals.captured == request.packets):
            self.tell(f"the capture has ended: {self._why(answer.brick)}")
        self.tell(
            f"{totals.captured} packets captured, {totals.lost} lost for want of room (--buffer), "
            f"{totals.seen} seen"
        )

    def _why(self, brick: str) -> str:
        """Return what ended a capture at *brick* that nobody here ended."""
        try:
            nodes = self.client.call(methods.Graph()).nodes
        except errors.DaemonUnreachable:
            return "vhost-brickd has stopped"
        if any(node.name == brick for node in nodes):
            return "vhost-brickd has handed over or restarted, or 'capture_stop' was called"
        return f"{brick} was deleted"


def _mebibytes(text: str) -> int:
    """Parse the size of a buffer, for argparse."""
    size = numbers.count(text) * MIB
    if size > MAX_BUFFER:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MAX_BUFFER // MIB}")
    return size


def _request(parsed_args: argparse.Namespace) -> methods.CaptureStart:
    return methods.CaptureStart(
        port=parsed_args.port,
        filter=bpf.compile(parsed_args.filter) if parsed_args.filter else (),
        direction=DIRECTIONS[parsed_args.direction],
        snaplen=parsed_args.snaplen,
        packets=parsed_args.count or 0,
        seconds=parsed_args.seconds or 0.0,
        buffer=parsed_args.buffer,
    )


# -- where packets go ----------------------------------------------------------


@contextlib.contextmanager
def _output(path: str) -> Iterator[int]:
    """Open *path*, which is as it was, or not there, if the capture cannot be started.

    Nobody but its owner may read a file that is made: there are guests' packets in it.

    :raises errors.InvalidParams: it is a terminal.
    """
    is_new = not os.path.lexists(path)
    out = (
        os.dup(sys.stdout.fileno())
        if path == STDOUT
        else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    )
    try:
        if os.isatty(out):
            raise errors.InvalidParams(
                "packets are not written to a terminal",
                hint="Name a file, or pipe them: '... -w - | tcpdump -r -'.",
            )
        yield out
    except errors.VhostBrickError:
        if is_new and path != STDOUT:
            os.unlink(path)
        raise
    finally:
        os.close(out)


def _fill(out: int, path: str, connection: socket.socket, begin: bytes) -> Totals | None:
    """Copy all that comes; return what was captured, or None if the end is missing.

    Where it is, and for want of space, a file is cut to whole packets.
    """
    is_file = path != STDOUT and stat.S_ISREG(os.fstat(out).st_mode)
    if is_file:
        os.ftruncate(out, 0)
    totals = None
    try:
        totals = pcapng.totals(_copy(connection, out, begin))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        if is_file and totals is None:
            with open(path, "rb") as file:
                os.ftruncate(out, pcapng.whole(file))
    return totals


def _copy(connection: socket.socket, out: int, begin: bytes) -> bytes:
    """Copy *begin*, and all that comes after it; return its end.

    :raises BrokenPipeError: nobody reads it any more.
    """
    buffer = memoryview(bytearray(AT_ONCE))
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    # Its reader may leave while no packet passes, and no write fails.
    poller.register(out, 0)
    chunk: bytes | memoryview = begin
    end = b""
    while True:
        _write(out, chunk)
        end = (end + chunk[-pcapng.MAX_TOTALS :])[-pcapng.MAX_TOTALS :]
        if any(fd == out for fd, _ in poller.poll()):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        chunk = buffer[: _receive(connection, buffer)]
        if not chunk:
            return end


def _write(out: int, data: bytes | memoryview) -> None:
    while data:
        data = data[os.write(out, data) :]


def _receive(connection: socket.socket, buffer: memoryview) -> int:
    """Return how many bytes have come; 0 at the end, also if the daemon was killed."""
    try:
        return connection.recv_into(buffer)
    except ConnectionResetError:
        return 0


# -- its end -------------------------------------------------------------------


class _Interruption:
    """SIGINT and SIGTERM end a capture, whose last packets are still to come.

    Once: the next one ends the process, as it would without this.

    :ivar came: there was one.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.came = False
        self._connection = connection
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, *_: object) -> None:
        self.came = True
        self.__exit__()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)


def _broken_off(daemon: str, path: str) -> errors.DaemonUnreachable:
    return errors.DaemonUnreachable(
        f"the capture broke off: vhost-brickd at {daemon} has gone, or has waited in vain for "
        "its packets to be read",
        hint="Start it again."
        if path == STDOUT
        else f"{path} has what came until then, in whole packets.",
    )
