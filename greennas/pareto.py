"""Pareto sets: non-dominated points, hypervolume, knee.

Everywhere here ``losses`` has shape ``(n, m)``: ``n`` points with ``m`` objectives, all minimised.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def is_non_dominated(losses: Array) -> NDArray[np.bool_]:
    """Mask of shape ``(n,)``: True where no other point is at least as good everywhere and better once.

    Equal points do not dominate each other, so all of them stay.
    """
    points, place = _distinct(losses)
    if points.shape[1] == 2:  # in this order a point is dominated by an earlier one, if by any
        best = np.minimum.accumulate(np.append(np.inf, points[:-1, 1]))
        return np.asarray((points[:, 1] < best)[place])
    mask = np.zeros(len(points), dtype=bool)
    left = np.arange(len(points))
    while len(left):
        mask[left[0]] = True
        left = left[np.any(points[left] < points[left[0]], axis=1)]
    return mask[place]


def non_domination_rank(losses: Array) -> NDArray[np.int64]:
    """Rank of shape ``(n,)`` by peeling fronts: 0 for the Pareto set, 1 for the next front, and so on.

    Source: non-dominated sorting of NSGA-II (Deb et al. 2002); with two objectives in O(n log n) (Jensen 2003).
    """
    points, place = _distinct(losses)
    if points.shape[1] == 1:
        return place
    ranks = np.zeros(len(points), dtype=np.int64)
    if points.shape[1] == 2:
        ends: list[float] = []  # lowest second loss of each front so far, ascending
        for i, second in enumerate(points[:, 1].tolist()):
            ranks[i] = rank = bisect_right(ends, second)
            ends[rank : rank + 1] = [second]
        return ranks[place]
    left, rank = np.arange(len(points)), 0
    while len(left):
        front = is_non_dominated(points[left])
        ranks[left[front]] = rank
        left, rank = left[~front], rank + 1
    return ranks[place]


def _distinct(losses: Array) -> tuple[Array, NDArray[np.intp]]:
    """Distinct points, ordered by the first objective, then the next ones; and which of them each point is, (n,)."""
    losses = np.asarray(losses, dtype=float)
    order = np.lexsort(losses.T[::-1])
    points = losses[order]
    new = np.append(True, np.any(points[1:] != points[:-1], axis=1))[: len(points)]
    place = np.empty(len(points), dtype=np.intp)
    place[order] = np.cumsum(new) - 1
    return points[new], place


def reference_point(losses: Array, margin: float = 0.1) -> Array:
    """Worst value of each objective on the front plus ``margin`` of the front's range, shape ``(m,)``."""
    front = np.asarray(losses, dtype=float)
    front = front[is_non_dominated(front)]
    worst, best = front.max(axis=0), front.min(axis=0)
    spread = np.where(worst > best, worst - best, np.maximum(np.abs(worst), 1e-12))
    return np.asarray(worst + margin * spread)


def free_boxes(front: Array, reference: Array) -> tuple[Array, Array]:
    """Cut the region that ``front`` does not dominate, below ``reference``, into disjoint boxes.

    Args:
        front: shape ``(n, m)``; ``n`` may be 0.
        reference: shape ``(m,)``.

    Returns:
        Lower and upper corners, each of shape ``(boxes, m)``; lower corners may be minus infinity.
    """
    front = np.asarray(front, dtype=float).reshape(-1, len(reference))
    front = front[np.all(front < reference, axis=1)]
    front = np.unique(front[is_non_dominated(front)], axis=0)  # boxes grow with the points that are given
    if len(reference) == 1:
        upper = front.min(axis=0) if len(front) else np.asarray(reference, dtype=float)
        return np.full((1, 1), -np.inf), upper.reshape(1, 1)
    if len(reference) == 2:  # the general case below in closed form: the most frequent one
        first, second = front[::-1].T  # descending, ascending
        upper = np.column_stack([np.append(reference[0], first), np.append(second, reference[1])])
        return np.column_stack([np.full(len(upper), -np.inf), np.append(-np.inf, second)]), upper
    # Slabs of the last objective between neighbouring values of it: in a slab the points at or below its
    # floor dominate, whatever the last objective, so that it is the same problem with one objective less.
    edges = np.concatenate([[-np.inf], np.unique(front[:, -1]), [reference[-1]]])
    lowers, uppers = [], []
    for floor, ceiling in itertools.pairwise(edges):
        below = front[front[:, -1] <= floor][:, :-1]
        below = below[is_non_dominated(below)]
        low, high = free_boxes(below, reference[:-1])
        lowers.append(np.column_stack([low, np.full(len(low), floor)]))
        uppers.append(np.column_stack([high, np.full(len(high), ceiling)]))
    return np.concatenate(lowers), np.concatenate(uppers)


def hypervolume_improvement(points: Array, front: Array, reference: Array) -> Array:
    """By how much each point alone would raise the hypervolume of ``front``.

    Args:
        points: shape ``(..., m)``.
        front: shape ``(n, m)``.
        reference: shape ``(m,)``.

    Returns:
        Shape ``(...)``; 0 for points that are dominated or not below ``reference``.
    """
    points = np.asarray(points, dtype=float)[..., None, :]
    low, high = free_boxes(front, reference)
    gain = np.ones(1)
    for j in range(points.shape[-1]):
        gain = gain * np.clip(high[:, j] - np.maximum(low[:, j], points[..., j]), 0.0, None)
    return np.asarray(gain.sum(axis=-1))


def hypervolume(losses: Array, reference: Array) -> float:
    """Volume that ``losses`` dominate below ``reference``; 0 for no points."""
    losses = np.asarray(losses, dtype=float).reshape(-1, len(reference))
    losses = losses[np.all(losses < reference, axis=1)]
    if not len(losses):
        return 0.0
    ideal = losses.min(axis=0)
    free = float(hypervolume_improvement(ideal, losses, np.asarray(reference, dtype=float)))
    return float(np.prod(reference - ideal)) - free


def knee(losses: Array) -> int:
    """Index of the knee: the front's point nearest to the ideal point, each objective scaled to [0, 1].

    Raises:
        ValueError: there are no points.
    """
    losses = np.asarray(losses, dtype=float)
    if not len(losses):
        raise ValueError("no points, no knee")
    front = np.flatnonzero(is_non_dominated(losses))
    low, high = losses[front].min(axis=0), losses[front].max(axis=0)
    scaled = (losses[front] - low) / np.where(high > low, high - low, 1.0)
    return int(front[np.argmin(np.linalg.norm(scaled, axis=1))])
