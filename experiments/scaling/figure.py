"""Throughput over workers as an SVG picture: no library, and the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 380, 70, 20, 36, 56


def draw(rows: Sequence[Mapping[str, Any]]) -> str:
    """Trainings a minute, measured and ideal, both axes logarithmic."""
    xs = [math.log2(row["workers"]) for row in rows]
    ideal = [math.log10(row["ideal_per_minute"]) for row in rows]
    measured = [math.log10(row["per_minute"]) for row in rows]
    low, high = math.floor(min(measured + ideal)), math.ceil(max(measured + ideal))

    def x(value: float) -> float:
        return _LEFT + (value - min(xs)) / max(max(xs) - min(xs), 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / max(high - low, 1) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">Trainings a minute: measured (dots) and ideal (line)</text>',
    ]
    for power in range(low, high + 1):
        parts.append(_line(x(min(xs)), y(power), x(max(xs)), y(power), "#ddd"))
        parts.append(f'<text x="{_LEFT - 8}" y="{y(power) + 4:.1f}" text-anchor="end">{10**power:g}</text>')
    for value, row in zip(xs, rows, strict=True):
        parts.append(f'<text x="{x(value):.1f}" y="{_HEIGHT - 34}" text-anchor="middle">{row["workers"]}</text>')
    parts.append(f'<text x="{_WIDTH / 2:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">simulated workers</text>')
    points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ideal, strict=True))
    parts.append(f'<polyline points="{points}" fill="none" stroke="#888" stroke-width="1.5"/>')
    for a, b, row in zip(xs, measured, rows, strict=True):
        parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" fill="#197a3c"/>')
        parts.append(f'<text x="{x(a):.1f}" y="{y(b) + 20:.1f}" text-anchor="middle">{100 * row["share"]:.0f}%</text>')
    return "\n".join([*parts, "</svg>", ""])


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
