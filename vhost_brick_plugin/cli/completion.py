# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick complete``: what bash proposes, made from the parsers of the commands.

In the place of cliff's command of that name, whose script ends with an error of bash in the
middle of the line after a name such as ``web.xml``, and knows neither values nor what comes
after ``--api-socket PATH``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from vhost_brick_plugin.cli import base

SCRIPT = Path(__file__).with_name("completion.bash")

NAMED = {
    "domain": "virsh list --all --name",
    "network": "vhost-brick network list -f value -c name",
    "port": "vhost-brick port list -f value -c id",
}
"""How to list what an argument names, by its ``dest``, which may be a plural."""

NEW = {("network create", "network"), ("port create", "port")}
"""Arguments that name what is not there yet."""


class Complete(base.Command):
    """Print a script by which bash completes commands, options, their values and names."""

    def take_action(self, _parsed_args: argparse.Namespace) -> None:
        parsers = {"": self.app.parser}
        for name, _ in self.app.command_manager:
            factory, _, _ = self.app.command_manager.find_command(name.split())
            parsers[name] = factory(self.app, None).get_parser(name)
        tables = {"commands": _commands(parsers), "options": {}, "choices": {}, "lists": {}}
        for name, parser in parsers.items():
            tables["options"][name] = _words(s for a in parser._actions for s in a.option_strings)
            for action in parser._actions:
                for key in _keys(name, action):
                    if action.option_strings:
                        tables["choices"][key] = _words(action.choices or ())
                    kind = action.dest.removesuffix("s")
                    if kind in NAMED and (name, kind) not in NEW:
                        # Of two arguments the first: they are not told apart.
                        tables["lists"].setdefault(key, NAMED[kind])
        lines = (line for name, table in tables.items() for line in _declare(name, table))
        self.app.stdout.write(SCRIPT.read_text().replace("\t# TABLES\n", "".join(lines)))


def _commands(names: Iterable[str]) -> dict[str, str]:
    """Return the words that may follow each word of *names*."""
    following: dict[str, set[str]] = {}
    for name in names:
        words = name.split()
        for at, word in enumerate(words):
            following.setdefault(" ".join(words[:at]), set()).add(word)
    return {place: _words(sorted(found)) for place, found in following.items()}


def _keys(command: str, action: argparse.Action) -> list[str]:
    """Return where an action that takes a value is in the tables: an argument at its command."""
    if action.nargs == 0:
        return []
    return [f"{command} {option}".strip() for option in action.option_strings] or [command]


def _words(found: Iterable[object]) -> str:
    return " ".join(map(str, found))


def _declare(name: str, table: dict[str, str]) -> Iterator[str]:
    """Yield the lines of an associative array; it takes no empty key, hence the slash."""
    yield f"\tlocal -A {name}=(\n"
    for key, value in table.items():
        yield f"\t\t['/{key}']='{value}'\n"
    yield "\t)\n"
