# SPDX-License-Identifier: Apache-2.0
"""Writes ``doc/source/metrics.rst``: every metric, out of the code::

    python -m tools.metrics

``tests/unit/test_exporter.py`` keeps the page in step.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from vhost_brick_plugin.exporter import metrics

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "doc" / "source" / "metrics.rst"

HEAD = """\
.. Made by tools/metrics.py out of vhost_brick_plugin/exporter/metrics.py: change that.

Metrics
=======

What ``vhost-brick-exporter`` serves; :doc:`monitoring` tells how to use it.  A ``reason``
is a drop reason and a ``fault`` a fault of :doc:`reasons`.  A label that is not known is
empty.
"""


def _entry(metric: metrics.Metric) -> str:
    kind = "Counter" if metric.is_counter else "Gauge"
    labels = ", ".join(f"``{label}``" for label in metric.labels)
    paragraphs = [metric.help, f"{kind}; labels: {labels}." if labels else f"{kind}."]
    text = "".join(
        textwrap.fill(text, 88, initial_indent="    ", subsequent_indent="    ") + "\n\n"
        for text in paragraphs
    )
    return f"``{metric.name}``\n{text}"


def page() -> str:
    """Return the page as it has to be."""
    return (HEAD + "\n" + "".join(map(_entry, metrics.ALL))).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
