# SPDX-License-Identifier: Apache-2.0
"""Keeps what is logged before oslo.log is there."""

from __future__ import annotations

import logging
import sys


class EarlyLog(logging.Handler):
    """Holds records until they are :meth:`replayed <replay>`, with their own times."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []
        root = logging.getLogger()
        root.addHandler(self)
        root.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def replay(self) -> None:
        """Hand the records to the handlers that are there now, and keep no more."""
        logging.getLogger().removeHandler(self)
        records, self._records = self._records, []
        for record in records:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)

    def dump(self) -> None:
        """Write the records to stderr, where the start failed before oslo.log was there."""
        records, self._records = self._records, []
        for record in records:
            print(f"{record.levelname} {record.getMessage()}", file=sys.stderr)
