"""A NAS-Bench-101 cell as a labelled graph: what a valid one is, and the published hash of isomorphic ones."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from greennas.errors import InvalidArchitectureError

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""Operations in the order of the published labels 0, 1, 2."""

MAX_EDGES = 9

Matrix = tuple[tuple[int, ...], ...]
"""Adjacency of a cell's vertices, input and output included."""


def check_form(matrix: Sequence[Sequence[int]], operations: Sequence[str]) -> None:
    count = len(matrix)
    if count < 2 or any(len(row) != count for row in matrix) or len(operations) != count - 2:
        raise InvalidArchitectureError(
            "The cell is malformed; give a square adjacency matrix with input and output, "
            "and one operation for each vertex between them."
        )
    if any(matrix[i][j] not in ((0, 1) if i < j else (0,)) for i in range(count) for j in range(count)):
        raise InvalidArchitectureError(
            "The adjacency matrix of the cell is not upper triangular with entries 0 and 1; order its vertices."
        )
    for operation in operations:
        if operation not in OPERATIONS:
            raise InvalidArchitectureError(
                f"NAS-Bench-101 has no operation {operation!r}; choose from {', '.join(OPERATIONS)}."
            )


def connected(matrix: Sequence[Sequence[int]]) -> list[int]:
    """Vertices on a path from the first to the last, in order."""
    count = len(matrix)
    forward, backward = {0}, {count - 1}
    for vertex in range(1, count):
        if any(matrix[source][vertex] for source in forward):
            forward.add(vertex)
    for vertex in range(count - 2, -1, -1):
        if any(matrix[vertex][target] for target in backward):
            backward.add(vertex)
    if count - 1 not in forward:
        raise InvalidArchitectureError("The cell has no path from its input to its output; add an edge.")
    return sorted(forward & backward)


def cell_of(params: Mapping[str, Any]) -> tuple[Matrix, tuple[str, ...]]:
    """Matrix and operations of ``params`` as tuples, checked."""
    try:
        if len(params) != 2:
            raise KeyError(*(set(params) - {"matrix", "operations"}))
        matrix = tuple(tuple(row) for row in params["matrix"])
        operations = tuple(params["operations"])
        _check_cell(matrix, operations)
    except (KeyError, TypeError) as error:
        raise InvalidArchitectureError(
            f"{dict(params)} is not a NAS-Bench-101 cell; give a matrix and its operations, as from_matrix does."
        ) from error
    return matrix, operations


@functools.lru_cache(maxsize=65536)
def _check_cell(matrix: Matrix, operations: tuple[str, ...]) -> None:
    check_form(matrix, operations)
    if connected(matrix) != list(range(len(matrix))):
        raise InvalidArchitectureError("The cell has vertices on no path from input to output; use from_matrix.")
    edges = sum(map(sum, matrix))
    if len(matrix) > 7 or edges > MAX_EDGES:
        raise InvalidArchitectureError(
            f"The cell has {len(matrix)} vertices and {edges} edges; NAS-Bench-101 allows at most 7 and {MAX_EDGES}."
        )


@functools.lru_cache(maxsize=65536)
def module_hash(matrix: Matrix, operations: tuple[str, ...]) -> str:
    """Hash of the labelled graph by iterated MD5 over neighbours (Ying et al. 2019, published ``hash_module``)."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    every = range(len(matrix))
    labels = [-1, *(OPERATIONS.index(operation) for operation in operations), -2]
    sources = [[v for v in every if matrix[v][vertex]] for vertex in every]
    targets = [[v for v in every if matrix[vertex][v]] for vertex in every]
    hashes = [md5(str((len(targets[v]), len(sources[v]), labels[v]))) for v in every]
    for _ in every:
        hashes = [
            md5(
                "".join(sorted(hashes[w] for w in sources[v]))
                + "|"
                + "".join(sorted(hashes[w] for w in targets[v]))
                + "|"
                + hashes[v]
            )
            for v in every
        ]
    return md5(str(sorted(hashes)))
