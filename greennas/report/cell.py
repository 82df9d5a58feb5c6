"""What a network's parameters describe: a cell as a graph, stages of blocks, or names with values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_EDGE = re.compile(r"(\d{1,2})<-(\d{1,2})")
_MOST_BLOCKS = 24
_OF_STAGE = re.compile(r"stage (\d{1,2}) (?:block (\d{1,2}) )?(.+)")


@dataclass(frozen=True)
class Cell:
    """A cell as a directed acyclic graph.

    Attributes:
        vertices: what stands in each vertex, the input first and the output last.
        edges: source, target and operation on the edge (empty where operations are in the vertices).
    """

    vertices: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Stage:
    """A stage of a network.

    Attributes:
        number: counted from 1.
        values: what holds for all of its blocks, by name.
        blocks: what holds for each of its blocks, by name.
    """

    number: int
    values: Mapping[str, Any]
    blocks: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Stages:
    """A network as stages of blocks, one behind the other.

    Attributes:
        values: what holds for the whole network, by name.
        stages: in their order.
    """

    values: Mapping[str, Any]
    stages: tuple[Stage, ...]


def cell_of(params: Mapping[str, Any]) -> Cell | None:
    """The cell that ``params`` describe: edges named ``"2<-0"``, or an adjacency ``matrix`` with ``operations``.

    Returns:
        None for parameters of another form.
    """
    return _cell_of_edges(params) or _cell_of_matrix(params)


def stages_of(params: Mapping[str, Any]) -> Stages | None:
    """The stages that ``params`` describe: ``"stage 1 blocks"``, ``"stage 1 groups"``, ``"stage 1 block 2 kernel"``.

    Returns:
        None for parameters of another form.
    """
    whole: dict[str, Any] = {}
    shared: dict[int, dict[str, Any]] = {}
    single: dict[int, dict[int, dict[str, Any]]] = {}
    for name, value in params.items():
        match = _OF_STAGE.fullmatch(name)
        if match is None:
            whole[name] = value
        elif match[2]:
            single.setdefault(int(match[1]), {}).setdefault(int(match[2]), {})[match[3]] = value
        else:
            shared.setdefault(int(match[1]), {})[match[3]] = value
    stages = []
    for number in sorted(shared.keys() | single.keys()):
        values, blocks = dict(shared.get(number, {})), single.get(number, {})
        count = values.pop("blocks", None)
        if type(count) is not int or not 1 <= count <= _MOST_BLOCKS or any(not 1 <= key <= count for key in blocks):
            return None
        stages.append(Stage(number, values, tuple(blocks.get(i, {}) for i in range(1, count + 1))))
    simple = all(not isinstance(value, (Mapping, list)) for value in whole.values())
    return Stages(whole, tuple(stages)) if stages and simple else None


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


def short(operation: str) -> str:
    """An operation's name without what all of them share."""
    text = operation.removeprefix("nor_").removesuffix("_connect").replace("-bn-relu", "").replace("_", " ")
    text = re.sub(r"(?<=[a-z])(?=\d)", " ", re.sub(r"(\d)x(\d)", "\\1\N{MULTIPLICATION SIGN}\\2", text))
    return text if len(text) <= 14 else f"{text[:13]}…"


def family(operation: str) -> str:
    """What sort of operation it is, by its name: ``conv``, ``pool``, ``skip`` or ``other``."""
    for name in ("conv", "pool", "skip"):
        if name in operation:
            return name
    return "other"


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


def _flat(prefix: str, value: Any) -> Sequence[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [row for key, item in value.items() for row in _flat(f"{prefix}.{key}" if prefix else str(key), item)]
    if isinstance(value, list) and value and not any(isinstance(item, (list, dict)) for item in value):
        return [(prefix, ", ".join(map(str, value)))]
    return [(prefix, value if isinstance(value, str) else json.dumps(value))]
