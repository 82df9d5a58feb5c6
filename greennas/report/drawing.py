"""Drawings of networks as inline SVG: cells as graphs, stages as rows of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from greennas.report.cell import Cell, Stages, cell_of, family, short, stages_of
from greennas.report.layers import Placed, placed_in_layers

_STEP, _MARGIN = 112, 36
"""Pixels between two vertices in a row, and beside the outer ones."""
_MOST_VERTICES = 12
_LABEL, _ROOM = 74, 396
"""Pixels of a stage's name, and of its blocks."""


def drawing(params: Mapping[str, Any]) -> str:
    """What ``params`` describe as inline SVG; empty where they are neither a cell that fits nor stages."""
    cell, stages = cell_of(params), stages_of(params)
    if cell is not None and len(cell.vertices) <= _MOST_VERTICES:
        on_edges = any(operation for _, _, operation in cell.edges)
        return _arcs(cell) if on_edges or len(cell.edges) == 0 else _layers(cell)
    return _rows(stages) if stages is not None else ""


def reading(params: Mapping[str, Any]) -> str:
    """How to read the drawing of ``params``, text; empty where it needs no words."""
    stages = stages_of(params) if cell_of(params) is None else None
    if stages is None:
        return ""
    named = {name for stage in stages.stages for values in (stage.values, *stage.blocks) for name in values}
    parts = ["A row is a stage, a box one of its blocks"]
    if "kernel" in named:
        parts.append("the darker, the larger its kernel")
    if "expansion" in named:
        parts.append("the wider, the more channels it expands to (\N{MULTIPLICATION SIGN}4: four times as many)")
    elif "multiplier" in named:
        parts.append("the wider, the more channels it has")
    return f"{': '.join([parts[0], ', '.join(parts[1:])]) if parts[1:] else parts[0]}."


def _svg(words: str, width: float, height: float, shapes: Sequence[str]) -> str:
    return (
        f'<svg class="cell" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(words)}" '
        f'style="max-width:{width:.0f}px">{"".join(shapes)}</svg>'
    )


def _cell_in_words(cell: Cell) -> str:
    edges = [f"{cell.vertices[a]} to {cell.vertices[b]}: {text or 'edge'}" for a, b, text in cell.edges]
    return f"Cell: {'; '.join(edges)}"


# Operations on edges: the vertices in a row, from the input on the left to the output on the right.


def _arcs(cell: Cell) -> str:
    pairs = [(source, target) for source, target, _ in cell.edges]
    above = max((_rise(b - a) for a, b in pairs if _upward(a, b)), default=0)
    below = max((_rise(b - a) for a, b in pairs if not _upward(a, b)), default=0)
    middle = above + 32
    used = {vertex for pair in pairs for vertex in pair}
    shapes = [_arc(source, target, operation, middle) for source, target, operation in cell.edges]
    shapes += [_vertex(_MARGIN + _STEP * i, middle, text, i in used) for i, text in enumerate(cell.vertices)]
    width = 2 * _MARGIN + _STEP * (len(cell.vertices) - 1)
    return _svg(_cell_in_words(cell), width, middle + below + 26, shapes)


def _upward(source: int, target: int) -> bool:
    """Arcs over two vertices go above, longer ones below; straight edges count as above."""
    return target - source <= 2 or (source + target) % 2 == 0


def _rise(span: int) -> int:
    return 0 if span == 1 else 28 + 17 * span


def _arc(source: int, target: int, operation: str, middle: int) -> str:
    start, end = _MARGIN + _STEP * source, _MARGIN + _STEP * target
    rise = _rise(target - source) * (1 if _upward(source, target) else -1)
    # The middle of a cubic curve lies at three quarters of its control points' height.
    control = middle - rise * 4 / 3
    path = (
        f"M{start},{middle} C{start + _STEP / 3:.0f},{control:.0f} {end - _STEP / 3:.0f},{control:.0f} {end},{middle}"
    )
    x, y = (start + end) / 2, middle - rise + {0: -17, 1: -7, -1: 17}[(rise > 0) - (rise < 0)]
    return (
        f'<path d="{path}" class="edge {family(operation)}"/>'
        f'<text x="{x:.0f}" y="{y:.0f}">{escape(short(operation))}</text>'
    )


# Operations in vertices: from the input at the top to the output at the bottom, branches side by side.


def _layers(cell: Cell) -> str:
    halves = [_half(text) for text in cell.vertices]
    placed: Placed = placed_in_layers([2.0 * half for half in halves], [(a, b) for a, b, _ in cell.edges])
    used = {vertex for a, b, _ in cell.edges for vertex in (a, b)}
    shapes = []
    for points in placed.edges:
        path = f"M{points[0][0]:.0f},{points[0][1]:.0f}"
        for (x, y), (to_x, to_y) in pairwise(points):
            half = (y + to_y) / 2
            path += f" C{x:.0f},{half:.0f} {to_x:.0f},{half:.0f} {to_x:.0f},{to_y:.0f}"
        shapes.append(f'<path d="{path}" class="edge"/>')
    shapes += [
        _vertex(x, y, text, i in used) for i, ((x, y), text) in enumerate(zip(placed.at, cell.vertices, strict=True))
    ]
    return _svg(_cell_in_words(cell), placed.width, placed.height, shapes)


def _half(text: str) -> float:
    return max(12.0, 3.9 * len(short(text)) + 10)


def _vertex(x: float, y: float, text: str, used: bool) -> str:
    half = _half(text)
    return (
        f'<g class="vertex {family(text)}{"" if used else " unused"}">'
        f'<rect x="{x - half:.0f}" y="{y - 12:.0f}" width="{2 * half:.0f}" height="24" rx="12"/>'
        f'<text x="{x:.0f}" y="{y + 4:.0f}">{escape(short(text))}</text></g>'
    )


# Stages: a row each, and a box a block.


def _rows(found: Stages) -> str:
    shapes: list[str] = []
    y = 8.0
    if found.values:
        shapes.append(f'<text class="facts" x="0" y="{y + 12:.0f}">{escape(_phrases(found.values))}</text>')
        y += 28
    first = last = y + 12
    for stage in found.stages:
        shapes.append(f'<text class="name" x="14" y="{y + 17:.0f}">{escape(f"stage {stage.number}")}</text>')
        shapes.append(f'<circle class="stop" cx="4.5" cy="{y + 12:.0f}" r="3.5"/>')
        last = y + 12
        most = (_ROOM - 6) / len(stage.blocks) - 6
        x = float(_LABEL)
        for values in stage.blocks:
            text = _block_text(values)
            width = min(_block_width({**stage.values, **values}, text), most)
            opacity = 0.1 + 0.07 * (_number(values.get("kernel"), 3.0) - 3)
            shapes.append(
                f'<g class="block"><rect x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="24" rx="3" '
                f'style="fill-opacity:{min(max(opacity, 0.1), 0.6):.2f}"/>'
                + (f'<text x="{x + width / 2:.1f}" y="{y + 16:.0f}">{escape(text)}</text></g>' if text else "</g>")
            )
            x += width + 6
        y += 24
        if phrases := _phrases(stage.values):
            shapes.append(f'<text class="facts" x="{_LABEL}" y="{y + 14:.0f}">{escape(phrases)}</text>')
            y += 16
        y += 12
    shapes.insert(0, f'<path class="spine" d="M4.5,{first:.0f} V{last:.0f}"/>')
    return _svg(_stages_in_words(found), _LABEL + _ROOM, y, shapes)


def _stages_in_words(found: Stages) -> str:
    parts = [_phrases(found.values)] if found.values else []
    for stage in found.stages:
        blocks = ", ".join(filter(None, (_phrases(values) for values in stage.blocks)))
        facts = "; ".join(filter(None, (_phrases(stage.values), blocks)))
        count = len(stage.blocks)
        parts.append(
            f"stage {stage.number}: {count} {'block' if count == 1 else 'blocks'}{f' ({facts})' if facts else ''}"
        )
    return f"Stages: {'. '.join(parts)}"


def _block_text(values: Mapping[str, Any]) -> str:
    words = [_block_word(name, value) for name, value in values.items()]
    return " ".join(word for word in words if word)


def _block_word(name: str, value: Any) -> str:
    if name == "kernel":
        return f"{value}\N{MULTIPLICATION SIGN}{value}"
    return f"\N{MULTIPLICATION SIGN}{value}" if name == "expansion" else _phrase(name, value)


def _block_width(values: Mapping[str, Any], text: str) -> float:
    if not text:
        return 36 * min(max(_number(values.get("multiplier"), 1.0), 0.3), 3.0)
    return max(44 + 13 * _number(values.get("expansion"), 0.0), 7.5 * len(text) + 14)


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _phrases(values: Mapping[str, Any]) -> str:
    return " · ".join(filter(None, (_phrase(name, value) for name, value in values.items())))


def _phrase(name: str, value: Any) -> str:
    """``squeeze-excite`` where that is switched on, ``4 groups``, ``kernel 3``."""
    if isinstance(value, bool):
        return name if value else ""
    if name == "block":
        return str(value)
    if name == "multiplier":
        return f"width \N{MULTIPLICATION SIGN}{value}"
    if name == "groups":
        return f"{value} {'group' if value == 1 else 'groups'}"
    return f"{name} {value}"
