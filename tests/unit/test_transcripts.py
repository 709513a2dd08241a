# SPDX-License-Identifier: Apache-2.0
"""The commands in the documentation exist, and every command is shown."""

from __future__ import annotations

import re
import shlex

import pytest

from tools import transcripts
from tools.stage import programs
from vhost_brick_plugin.cli.main import COMMANDS, VhostBrick

SHOWN = [command for scene in transcripts.SCENES.values() for command in scene]
SHELL = re.compile(r"\s+(?:\d?>|<|\||&)")
IN_PAGES = re.compile(r"^ {2,}vhost-brick ((?!\.\.\.|\[).+)$", re.MULTILINE)

NOT_SHOWN = {
    "complete": "it prints a script, for bash",
    "vhost-brick-neutron-agent": "wants Neutron and its message queue: tests/neutron has both",
}
"""Commands and programs that no scene has, and why."""


def parse(words: list[str]) -> str:
    """Return the command that the words after ``vhost-brick`` call.

    :raises ValueError: there is none.
    :raises SystemExit: it has no such option.
    """
    app = VhostBrick()
    options, words = app.parser.parse_known_args(words)
    factory, name, rest = app.command_manager.find_command(words)
    factory(app, options).get_parser(name).parse_args(rest)
    return str(name)


def words(command: str) -> list[str]:
    """Return the words of the first program that *command*, of a shell, calls."""
    return shlex.split(SHELL.split(command)[0], comments=True)


MISTYPED = ["vhost-brick port lsit"]
"""What people type is wrong at times, and a scene shows what happens then."""


READERS = {"tcpdump", "tshark"}
"""Programs of others, which read what ours has written."""


@pytest.mark.parametrize("command", [command for command in SHOWN if command not in MISTYPED])
def test_commands_of_transcripts_exist(command: str) -> None:
    program, *rest = words(command)
    assert program in {*programs(), *READERS}
    if program == "vhost-brick":
        parse(rest)


def test_every_command_is_in_a_transcript() -> None:
    """If not: give it a scene in tools/transcripts.py, and run that."""
    called = [words(command) for command in SHOWN if command not in MISTYPED]
    shown = {parse(rest) for program, *rest in called if program == "vhost-brick"}
    shown |= {program for program, *_ in called}
    assert not (set(COMMANDS) | set(programs())) - shown - set(NOT_SHOWN)
    assert not shown & set(NOT_SHOWN)


def test_commands_in_pages_exist() -> None:
    found = [
        (page.name, command)
        for page in transcripts.PAGES.glob("*.rst")
        for command in IN_PAGES.findall(page.read_text())
    ]
    assert len(found) > 10
    for page, command in found:
        try:
            parse(words(command))
        except (SystemExit, ValueError) as error:
            pytest.fail(f"{page}: vhost-brick {command}: {error}")


def test_every_scene_has_its_transcript_and_its_page() -> None:
    """If not: python tools/transcripts.py."""
    pages = "".join(page.read_text() for page in transcripts.PAGES.glob("*.rst"))
    files = {path.stem for path in transcripts.TRANSCRIPTS.glob("*.txt")}
    assert files == set(transcripts.SCENES)
    for name, commands in transcripts.SCENES.items():
        shown = (transcripts.TRANSCRIPTS / f"{name}.txt").read_text().splitlines()
        assert [line[2:] for line in shown if line.startswith("$ ")] == list(commands)
        assert f".. literalinclude:: transcripts/{name}.txt" in pages


def test_only_more_than_figures_makes_a_transcript_another() -> None:
    def same(one: str, other: str) -> bool:
        return transcripts.without_figures(one) == transcripts.without_figures(other)

    assert same("| pid | 4711 |\n+-----+------+", "| pid | 12 |\n+-----+----+")
    assert same("web  20k  15:04:05.123  0.1.0.dev7", "web  19.9k  1:02:03  1.2.0.dev146")
    assert not same("| vhost/web |", "| vhost/db |")
    assert not same("52:54:00:00:00:0a", "52:54:00:00:00:0b")
