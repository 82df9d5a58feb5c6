"""All different NAS-Bench-101 cells, and the cells that are one change away from one.

Two cells are the same if renaming the vertices between input and output turns one into the other. Unlabelled graphs
are brought to a canonical form first (a few thousand), operations are then told apart up to each graph's symmetries.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]


def unique_cells(
    vertices: int, max_edges: int, operations: Sequence[str]
) -> Iterator[tuple[list[list[int]], list[str]]]:
    """Matrix and operations of each different cell of at most ``vertices`` vertices, always in the same order."""
    for count in range(2, vertices + 1):
        pairs = list(itertools.combinations(range(count), 2))
        for code in _graphs(count, max_edges):
            matrix = [[0] * count for _ in range(count)]
            for bit, (i, j) in enumerate(pairs):
                matrix[i][j] = int(code >> bit) & 1
            for labels in _labellings(int(code), count, len(operations)):
                yield [row[:] for row in matrix], [operations[label] for label in labels]


def changed_cells(
    matrix: Sequence[Sequence[int]], operations: Sequence[str], choices: Sequence[str]
) -> Iterator[tuple[str, list[list[int]], list[str]]]:
    """Each cell with one operation exchanged, one edge added or one taken away, and what was changed.

    Not all are valid: vertices may have lost their path, and edges may be too many.
    """
    names = ["input", *(f"vertex {i} ({name})" for i, name in enumerate(operations, start=1)), "output"]
    for position, name in enumerate(operations):
        for other in choices:
            if other != name:
                changed = [*operations[:position], other, *operations[position + 1 :]]
                yield f"{names[position + 1]} becomes {other}", [list(row) for row in matrix], changed
    for i, j in itertools.combinations(range(len(matrix)), 2):
        edges = [list(row) for row in matrix]
        edges[i][j] = 1 - edges[i][j]
        verb = "with" if edges[i][j] else "without"
        yield f"{verb} the edge from {names[i]} to {names[j]}", edges, list(operations)


def _graphs(count: int, max_edges: int) -> Codes:
    """Codes of all different graphs of ``count`` vertices that all lie on a path from the first to the last."""
    pairs = list(itertools.combinations(range(count), 2))
    codes = np.arange(2 ** len(pairs), dtype=np.int64)
    bits = [(codes >> bit) & 1 for bit in range(len(pairs))]
    # In topological order, an edge into and out of every vertex is a path from the input and to the output.
    valid = sum(bits) <= max_edges
    for vertex in range(count):
        into = sum(bit for bit, (_, j) in zip(bits, pairs, strict=True) if j == vertex)
        out = sum(bit for bit, (i, _) in zip(bits, pairs, strict=True) if i == vertex)
        valid &= ((into > 0) | (vertex == 0)) & ((out > 0) | (vertex == count - 1))
    codes = codes[valid]
    least = codes.copy()
    for order in _orders(count):
        least = np.minimum(least, _renamed(codes, order, count))
    return np.unique(least)


def _labellings(code: int, count: int, operations: int) -> Iterator[tuple[int, ...]]:
    """Operations of the vertices between, one of each class that the graph's symmetries make."""
    one = np.array([code])
    symmetries = [order for order in _orders(count) if _renamed(one, order, count)[0] == code]
    for labels in itertools.product(range(operations), repeat=count - 2):
        if all(labels <= tuple(labels[vertex - 1] for vertex in order[1:-1]) for order in symmetries):
            yield labels


def _orders(count: int) -> Iterator[tuple[int, ...]]:
    """Renamings that leave the first and the last vertex: new name of each vertex."""
    for middle in itertools.permutations(range(1, count - 1)):
        yield (0, *middle, count - 1)


def _renamed(codes: Codes, order: Sequence[int], count: int) -> Codes:
    """Codes with the vertices renamed; the largest integer where an edge would go backward."""
    pairs = list(itertools.combinations(range(count), 2))
    position = {pair: bit for bit, pair in enumerate(pairs)}
    found, backward = np.zeros_like(codes), np.zeros(len(codes), dtype=bool)
    for bit, (i, j) in enumerate(pairs):
        there = (codes >> bit) & 1
        target = position.get((order[i], order[j]))
        if target is None:
            backward |= there == 1
        else:
            found |= there << target
    return np.where(backward, np.iinfo(np.int64).max, found)
