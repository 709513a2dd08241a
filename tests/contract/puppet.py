# SPDX-License-Identifier: Apache-2.0
"""A datapath in a process of its own, which does what a test says.

For what takes two processes, or kills one.  Calls and results are pickles on
standard input and output.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, Self

from vhost_brick_plugin.datapath.base import Datapath, Options


class Puppet:
    """Has the methods of :class:`.base.Datapath`, and does as they do.

    :param class_path: the datapath, as ``module:Class``.
    :param fds: descriptors that it shall have by the same numbers.
    """

    def __init__(self, class_path: str, options: Options, fds: Iterable[int] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.puppet", class_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(fds),
        )
        self.start(options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def __getattr__(self, method: str) -> Any:
        if not hasattr(Datapath, method):
            raise AttributeError(method)

        return lambda *args: self._call(method, *args)

    def close(self, fd: int) -> None:
        """Close a descriptor that it was given."""
        self._call("close", fd)

    def _call(self, method: str, *args: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        pickle.dump((method, args), self.process.stdin)
        self.process.stdin.flush()
        result, error = pickle.load(self.process.stdout)
        if error is not None:
            raise error
        return result

    def kill(self) -> None:
        """End it as a crash would; safe to call twice."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    datapath = getattr(importlib.import_module(module), name)()
    calls = os.fdopen(os.dup(0), "rb")
    # What the datapath prints must not get in between.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(EOFError):
        while True:
            method, args = pickle.load(calls)
            answer: tuple[Any, Exception | None]
            try:
                function = os.close if method == "close" else getattr(datapath, method)
                answer = (function(*args), None)
            except Exception as error:
                answer = (None, error)
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    main()
