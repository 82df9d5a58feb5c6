"""A network's parameters to read: as a small drawing where they describe a cell, else by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_EDGE = re.compile(r"(\d{1,2})<-(\d{1,2})")
_STEP, _MARGIN = 112, 36
"""Pixels between two vertices, and beside the outer ones."""
_MOST_VERTICES = 8


@dataclass(frozen=True)
class Cell:
    """A cell as a directed acyclic graph.

    Attributes:
        vertices: what stands in each vertex, the input first and the output last.
        edges: source, target and operation on the edge (empty where operations are in the vertices).
    """

    vertices: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]


def cell_of(params: Mapping[str, Any]) -> Cell | None:
    """The cell that ``params`` describe: edges named ``"2<-0"``, or an adjacency ``matrix`` with ``operations``.

    Returns:
        None for parameters of another form.
    """
    return _cell_of_edges(params) or _cell_of_matrix(params)


def described(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters as names and values to read, text: the edges of a cell, or the parameters themselves, flattened."""
    cell = cell_of(params)
    if cell is None:
        return list(_flat("", params))
    rows = []
    for source, target, operation in cell.edges:
        name = f"{cell.vertices[source]} → {cell.vertices[target]}"
        rows.append((name, operation or "edge"))
    return rows


def drawing(cell: Cell) -> str:
    """The cell as inline SVG, from the input on the left to the output on the right; empty for a large cell."""
    count = len(cell.vertices)
    if count > _MOST_VERTICES:
        return ""
    spans = {(source, target): target - source for source, target, _ in cell.edges}
    above = max((_rise(span) for edge, span in spans.items() if _upward(*edge)), default=0)
    below = max((_rise(span) for edge, span in spans.items() if not _upward(*edge)), default=0)
    middle = above + 32
    width, height = 2 * _MARGIN + _STEP * (count - 1), middle + below + 26
    shapes = [_edge(source, target, operation, middle) for source, target, operation in cell.edges]
    shapes += [_vertex(i, text, middle) for i, text in enumerate(cell.vertices)]
    words = escape("; ".join(f"{name}: {value}" for name, value in _edges_in_words(cell)))
    return (
        f'<svg class="cell" viewBox="0 0 {width} {height}" role="img" aria-label="Cell: {words}" '
        f'style="max-width:{width}px">{"".join(shapes)}</svg>'
    )


def _cell_of_edges(params: Mapping[str, Any]) -> Cell | None:
    matches = [(_EDGE.fullmatch(name), value) for name, value in params.items()]
    found = [(int(match[2]), int(match[1]), value) for match, value in matches if match and isinstance(value, str)]
    if not found or len(found) != len(params) or any(source >= target for source, target, _ in found):
        return None
    last = max(target for _, target, _ in found)
    vertices = ("input", *(str(i) for i in range(1, last)), "output")
    return Cell(vertices, tuple(sorted(edge for edge in found if edge[2] != "none")))


def _cell_of_matrix(params: Mapping[str, Any]) -> Cell | None:
    matrix, operations = params.get("matrix"), params.get("operations")
    if (
        set(params) != {"matrix", "operations"}
        or not isinstance(matrix, Sequence)
        or not isinstance(operations, Sequence)
    ):
        return None
    size = len(matrix)
    square = all(isinstance(row, Sequence) and not isinstance(row, str) and len(row) == size for row in matrix)
    if isinstance(matrix, str) or not square or len(operations) != size - 2:
        return None
    vertices = ("input", *(str(operation) for operation in operations), "output")
    edges = tuple((i, j, "") for i in range(size) for j in range(i + 1, size) if matrix[i][j])
    return Cell(vertices, edges)


def _edges_in_words(cell: Cell) -> list[tuple[str, str]]:
    return [(f"{cell.vertices[a]} to {cell.vertices[b]}", operation or "edge") for a, b, operation in cell.edges]


def _flat(prefix: str, value: Any) -> Sequence[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [row for key, item in value.items() for row in _flat(f"{prefix}.{key}" if prefix else str(key), item)]
    if isinstance(value, list) and value and not any(isinstance(item, (list, dict)) for item in value):
        return [(prefix, ", ".join(map(str, value)))]
    return [(prefix, value if isinstance(value, str) else json.dumps(value))]


def _upward(source: int, target: int) -> bool:
    """Arcs over two vertices go above, longer ones below; straight edges count as above."""
    return target - source <= 2 or (source + target) % 2 == 0


def _rise(span: int) -> int:
    return 0 if span == 1 else 28 + 17 * span


def _edge(source: int, target: int, operation: str, middle: int) -> str:
    start, end = _MARGIN + _STEP * source, _MARGIN + _STEP * target
    rise = _rise(target - source) * (1 if _upward(source, target) else -1)
    # The middle of a cubic curve lies at three quarters of its control points' height.
    control = middle - rise * 4 / 3
    path = (
        f"M{start},{middle} C{start + _STEP / 3:.0f},{control:.0f} {end - _STEP / 3:.0f},{control:.0f} {end},{middle}"
    )
    shape = f'<path d="{path}" class="edge {_family(operation)}"/>'
    if not operation:
        return shape
    x, y = (start + end) / 2, middle - rise + {0: -17, 1: -7, -1: 17}[(rise > 0) - (rise < 0)]
    return f'{shape}<text x="{x:.0f}" y="{y:.0f}">{escape(_short(operation))}</text>'


def _vertex(index: int, text: str, middle: int) -> str:
    x = _MARGIN + _STEP * index
    words = escape(_short(text))
    half = max(12, 4 * len(_short(text)) + 8)
    return (
        f'<g class="vertex {_family(text)}">'
        f'<rect x="{x - half}" y="{middle - 12}" width="{2 * half}" height="24" rx="12"/>'
        f'<text x="{x}" y="{middle + 4}">{words}</text></g>'
    )


def _short(operation: str) -> str:
    """An operation's name without what all of them share."""
    text = operation.removeprefix("nor_").removesuffix("_connect").replace("-bn-relu", "").replace("_", " ")
    return text if len(text) <= 14 else f"{text[:13]}…"


def _family(operation: str) -> str:
    for family in ("conv", "pool", "skip"):
        if family in operation:
            return family
    return "other"
