# SPDX-License-Identifier: Apache-2.0
"""The commands in the documentation exist."""

from __future__ import annotations

import re
import shlex

import pytest

from tools import transcripts
from vhost_brick_plugin.cli.main import VhostBrick

SCENES = transcripts.SCENES | transcripts.TRAFFIC
COMMANDS = [command for scene in SCENES.values() for command in scene]
SHELL = re.compile(r"\s+(?:\d?>|\||&)")
IN_PAGES = re.compile(r"^ {2,}vhost-brick ((?!\.\.\.|\[).+)$", re.MULTILINE)


def parse(words: list[str]) -> None:
    """Parse the words after ``vhost-brick``; raise if there is no such command or option."""
    app = VhostBrick()
    factory, name, rest = app.command_manager.find_command(words)
    factory(app, None).get_parser(name).parse_args(rest)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_transcripts_exist(command: str) -> None:
    program, *words = shlex.split(command)
    assert program in ("vhost-brick", "vhost-brickd")
    if program == "vhost-brick":
        parse(words)


def test_commands_in_pages_exist() -> None:
    found = [
        (page.name, command)
        for page in transcripts.PAGES.glob("*.rst")
        for command in IN_PAGES.findall(page.read_text())
    ]
    assert len(found) > 10
    for page, command in found:
        words = shlex.split(SHELL.split(command)[0], comments=True)
        try:
            parse(words)
        except (SystemExit, ValueError) as error:
            pytest.fail(f"{page}: vhost-brick {command}: {error}")


def test_every_scene_has_its_transcript_and_its_page() -> None:
    """If not: python tools/transcripts.py."""
    pages = "".join(page.read_text() for page in transcripts.PAGES.glob("*.rst"))
    files = {path.stem for path in transcripts.TRANSCRIPTS.glob("*.txt")}
    assert files == set(SCENES)
    for name, commands in SCENES.items():
        shown = (transcripts.TRANSCRIPTS / f"{name}.txt").read_text().splitlines()
        assert [line[2:] for line in shown if line.startswith("$ ")] == list(commands)
        assert f".. literalinclude:: transcripts/{name}.txt" in pages
