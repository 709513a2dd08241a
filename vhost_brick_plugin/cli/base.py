# SPDX-License-Identifier: Apache-2.0
"""What all commands share: the client, and how errors are shown."""

from __future__ import annotations

import argparse
import functools
from typing import Any

from cliff.command import Command as CliffCommand
from cliff.lister import Lister as CliffLister
from cliff.show import ShowOne as CliffShowOne

from vhost_brick_plugin import errors
from vhost_brick_plugin.api.client import Client

EXIT_FAILED = 1


class Mixin(CliffCommand):
    """Reports errors as an operator wants them: what is wrong, and what to do."""

    exit_status = 0
    """What the process ends with if :meth:`take_action` returns; it may change this."""

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command and return the exit status."""
        try:
            status: int = super().run(parsed_args)
            return status or self.exit_status
        except BrokenPipeError:
            raise  # The reader has seen enough: cliff ends quietly.
        except errors.VhostBrickError as error:
            return self._report(error, error.message, error.hint)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return self._report(error, f"{where}{error.strerror or error}", "")

    def _report(self, error: Exception, message: str, hint: str) -> int:
        if self.app.options.debug:
            raise error
        self.tell(f"error: {message}")
        if hint:
            self.tell(f"hint: {hint}")
        return EXIT_FAILED

    def tell(self, line: str) -> None:
        """Write *line* to stderr, where it does not get into anybody's JSON."""
        print(line, file=self.app.stderr)

    @functools.cached_property
    def client(self) -> Client:
        """The daemon's client, as the global options say."""
        options = self.app.options
        return Client(options.api_socket, options.timeout)


class Command(Mixin):
    """A command that prints what it likes."""


class ShowOne(Mixin, CliffShowOne):
    """A command that shows one thing."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        fit_terminal(parser)
        return parser


class Lister(Mixin, CliffLister):
    """A command that shows a list of things."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        # Nothing but an empty line looks like a command that failed.
        parser.set_defaults(print_empty=True)
        return parser


def fit_terminal(parser: argparse.ArgumentParser) -> None:
    """Have a table break long values, so that it is a table on any terminal.

    Not for tables whose values are to be copied, such as addresses.
    """
    parser.set_defaults(fit_width=True)


def pair(text: str) -> tuple[str, str]:
    """Parse ``KEY=VALUE`` for argparse."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    """Return what a Lister returns, for rows that have at least *columns*."""
    return columns, (tuple(row[name] for name in columns) for row in rows)


def fields(row: dict[str, Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return what a ShowOne returns."""
    return tuple(row), tuple(row.values())
