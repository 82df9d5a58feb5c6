"""Pareto sets: non-dominated points, hypervolume, knee.

Everywhere here ``losses`` has shape ``(n, m)``: ``n`` points with ``m`` objectives, all minimised.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def is_non_dominated(losses: Array) -> NDArray[np.bool_]:
    """Mask of shape ``(n,)``: True where no other point is at least as good everywhere and better once.

    Equal points do not dominate each other, so all of them stay.
    """
    losses = np.asarray(losses, dtype=float)
    mask = np.ones(len(losses), dtype=bool)
    for i, point in enumerate(losses):
        no_worse = np.all(losses <= point, axis=1)
        better = np.any(losses < point, axis=1)
        mask[i] = not np.any(no_worse & better)
    return mask


def non_domination_rank(losses: Array) -> NDArray[np.int64]:
    """Rank of shape ``(n,)`` by peeling fronts: 0 for the Pareto set, 1 for the next front, and so on.

    Source: non-dominated sorting of NSGA-II (Deb et al. 2002).
    """
    losses = np.asarray(losses, dtype=float)
    ranks = np.zeros(len(losses), dtype=np.int64)
    left = np.arange(len(losses))
    rank = 0
    while len(left):
        front = is_non_dominated(losses[left])
        ranks[left[front]] = rank
        left, rank = left[~front], rank + 1
    return ranks


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
    points = np.asarray(points, dtype=float)
    gain = np.zeros(points.shape[:-1])
    for low, high in zip(*free_boxes(front, reference), strict=True):
        gain += np.prod(np.clip(high - np.maximum(low, points), 0.0, None), axis=-1)
    return gain


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
