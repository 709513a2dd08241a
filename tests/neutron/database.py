# SPDX-License-Identifier: Apache-2.0
"""Neutron's database: a MariaDB that listens on a Unix socket only."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pymysql

from tests.functional.waiting import wait_until
from tests.neutron.process import Process

START_TIMEOUT = 30.0

FORGETFUL = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-stats-persistent=0",
    "--performance-schema=off",
)
"""Nothing of it has to outlive the tests."""


class Database:
    """One server with one database.

    It has no users: whoever reaches the socket, in a directory of root's, may do everything.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.socket = directory / "sql"
        self.url = f"mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}"
        data = directory / "data"
        data.mkdir(parents=True, mode=0o700)
        command = [
            "/usr/sbin/mariadbd",
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            f"--socket={self.socket}",
            "--skip-networking",
            "--skip-grant-tables",
            *FORGETFUL,
        ]
        self.process = Process("mariadbd", command, directory / "mariadbd.log")

    def start(self) -> None:
        """Start the server and make the database."""
        self.process.start()
        wait_until(self._answers, "the database", START_TIMEOUT)
        self.execute(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb3", database=None)

    def execute(self, statement: str, *args: object, database: str | None = "") -> int:
        """Run one statement; return how many rows it touched."""
        with self._connect(self.name if database == "" else database) as connection:
            touched = connection.cursor().execute(statement, args)
            connection.commit()
            return touched

    def stop(self) -> None:
        self.process.stop()

    def _connect(self, database: str | None) -> pymysql.Connection:
        return pymysql.connect(unix_socket=str(self.socket), user="root", database=database)

    def _answers(self) -> bool:
        self.process.check()
        with contextlib.suppress(pymysql.OperationalError):
            self._connect(None).close()
            return True
        return False
