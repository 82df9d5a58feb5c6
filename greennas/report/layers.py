"""A small directed acyclic graph in layers, from top to bottom, for a drawing.

The steps of K. Sugiyama, S. Tagawa and M. Toda: Methods for Visual Understanding of Hierarchical System Structures
(IEEE Transactions on Systems, Man, and Cybernetics, 1981): each vertex below all that feed it, long edges led through a
place in every layer between, places ordered by the mean of their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_LANE, _GAP, _STEP, _MARGIN = 14.0, 18.0, 54.0, 16.0
"""Pixels: width of an edge that passes a layer, room between two places, between two layers, around all."""
_SWEEPS = 8


@dataclass(frozen=True)
class Placed:
    """Where a graph is drawn, in pixels.

    Attributes:
        at: centre of each vertex.
        edges: the points that each edge passes, its ends included.
        width: of the whole.
        height: of the whole.
    """

    at: tuple[tuple[float, float], ...]
    edges: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def placed_in_layers(widths: Sequence[float], edges: Sequence[tuple[int, int]]) -> Placed:
    """Place a graph.

    Args:
        widths: of the vertices, in pixels; the first is the input, the last the output.
        edges: source and target, each source before its target.
    """
    count = len(widths)
    layer = [0] * count
    for target in range(1, count):
        # What nothing feeds stands with the first operations.
        layer[target] = max((layer[a] + 1 for a, b in edges if b == target), default=1)
    layer[-1] = max(*layer[:-1], 0) + 1
    rooms = list(widths)
    chains: list[list[int]] = []
    for source, target in edges:
        lanes = range(layer[source] + 1, layer[target])
        first = len(rooms)
        rooms += [_LANE] * len(lanes)
        layer += list(lanes)
        chains.append([source, *range(first, len(rooms)), target])
    rows = [[place for place in range(len(rooms)) if layer[place] == number] for number in range(layer[count - 1] + 1)]
    links = [pair for chain in chains for pair in pairwise(chain)]
    _ordered(rows, links)
    across = _aligned(rows, rooms, links)
    left = min(across[place] - rooms[place] / 2 for place in across) - _MARGIN
    right = max(across[place] + rooms[place] / 2 for place in across) + _MARGIN
    points = [(across[place] - left, _MARGIN + 12 + _STEP * layer[place]) for place in range(len(rooms))]
    return Placed(
        tuple(points[:count]),
        tuple(tuple(points[place] for place in chain) for chain in chains),
        right - left,
        2 * (_MARGIN + 12) + _STEP * (len(rows) - 1),
    )


def _ordered(rows: list[list[int]], links: Sequence[tuple[int, int]]) -> None:
    """Sort the places of each row by the mean place of their neighbours above, then below, several times."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for near, row in pairwise(rows if down else rows[::-1]):
            at = {place: i - (len(near) - 1) / 2 for i, place in enumerate(near)}
            now = {place: i - (len(row) - 1) / 2 for i, place in enumerate(row)}
            means = {
                place: _mean([at[other] for other in _near(place, links) if other in at], now[place]) for place in row
            }
            row.sort(key=means.__getitem__)


def _aligned(
    rows: Sequence[Sequence[int]], rooms: Sequence[float], links: Sequence[tuple[int, int]]
) -> dict[int, float]:
    """The horizontal middle of each place: near those of its neighbours, with room between the places of a row."""
    across = dict.fromkeys(range(len(rooms)), 0.0)
    for sweep in range(4 * _SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            wanted = [_mean([across[other] for other in _near(place, links)], across[place]) for place in row]
            found: list[float] = []
            for i, (place, x) in enumerate(zip(row, wanted, strict=True)):
                apart = (rooms[row[i - 1]] + rooms[place]) / 2 + _GAP if i else 0.0
                found.append(max(x, found[-1] + apart) if i else x)
            shift = _mean([x - at for x, at in zip(wanted, found, strict=True)], 0.0)
            across |= {place: at + shift for place, at in zip(row, found, strict=True)}
    return across


def _near(place: int, links: Sequence[tuple[int, int]]) -> list[int]:
    return [b if a == place else a for a, b in links if place in (a, b)]


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
