# SPDX-License-Identifier: Apache-2.0
"""Draws cycles a packet as bars, in SVG: a group for each scenario, a bar for each system."""

from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from bench.figures import scenario_of

COLOURS = {"brick": "#1f6fb4", "library": "#8a8f98", "testpmd": "#c7cbd1", "ovs": "#d98c2b"}

WIDTH, LEFT, RIGHT = 950, 345, 110
BAR, GAP, TOP = 14, 12, 64


def draw(rows: Sequence[dict[str, Any]]) -> str:
    """Return the picture of *rows*, which are in the order of their scenarios."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(scenario_of(row)), []).append(row)
    most = max((cycles(row) for row in rows), default=0.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / most
    parts: list[str] = []
    y = TOP
    for title, group in groups.items():
        middle = y + BAR * len(group) / 2 + 4
        parts.append(text(LEFT - 10, middle, title, "end"))
        for row in group:
            parts += bar(row, y, scale)
            y += BAR
        y += GAP
    return "\n".join([*head(y, [row["system"] for row in rows]), *parts, "</svg>", ""])


def cycles(row: dict[str, Any]) -> float:
    """Return the median, or the mean of a system that tells no more."""
    median = row["cycles_per_packet_median"]
    return float(row["cycles_per_packet_mean"] if median is None else median)


def bar(row: dict[str, Any], y: int, scale: float) -> list[str]:
    length = cycles(row) * scale
    remark = "" if row["cycles_per_packet_median"] is not None else " (mean)"
    remark += f" ({row['workers']} workers)" if row["workers"] > 1 else ""
    return [
        f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" '
        f'fill="{COLOURS[row["system"]]}"/>',
        text(LEFT + length + 5, y + BAR - 4, f"{cycles(row):.0f}{remark}", "start"),
    ]


def head(height: int, systems: Sequence[str]) -> list[str]:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(
            10, 22, "Cycles a packet from VM to VM, on the worker's core; less is better", "start"
        ),
    ]
    for number, system in enumerate(dict.fromkeys(systems)):
        x = 10 + 110 * number
        parts.append(f'<rect x="{x}" y="36" width="10" height="10" fill="{COLOURS[system]}"/>')
        parts.append(text(x + 15, 45, system, "start"))
    return parts


def text(x: float, y: float, what: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(what)}</text>'
