from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from greennas.pareto import (
    hypervolume,
    hypervolume_improvement,
    is_non_dominated,
    knee,
    non_domination_rank,
    reference_point,
)

POINTS = st.integers(1, 3).flatmap(
    lambda m: st.integers(1, 12).flatmap(lambda n: arrays(float, (n, m), elements=st.floats(0, 1, width=32)))
)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.all(a <= b) and np.any(a < b))


@given(POINTS)
def test_non_dominated_points_are_those_that_nothing_dominates(points: np.ndarray) -> None:
    mask = is_non_dominated(points)
    for i, point in enumerate(points):
        assert mask[i] == (not any(dominates(other, point) for other in points))


@given(POINTS)
def test_rank_is_one_more_than_the_best_dominating_rank(points: np.ndarray) -> None:
    ranks = non_domination_rank(points)
    for i, point in enumerate(points):
        above = [ranks[j] for j, other in enumerate(points) if dominates(other, point)]
        assert ranks[i] == (max(above) + 1 if above else 0)


@settings(max_examples=50, deadline=None)
@given(POINTS)
def test_hypervolume_equals_the_share_of_a_fine_grid_that_is_dominated(points: np.ndarray) -> None:
    points = np.round(points * 8) / 8  # on the grid's lines, so that counting cells is exact
    reference = np.ones(points.shape[1])
    axis = (np.arange(8) + 0.5) / 8
    cells = np.stack(np.meshgrid(*[axis] * points.shape[1]), axis=-1).reshape(-1, points.shape[1])
    dominated = np.any(np.all(points[None] <= cells[:, None], axis=2), axis=1)
    assert hypervolume(points, reference) == pytest.approx(dominated.mean(), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(POINTS, st.integers(0, 2**32 - 1))
def test_improvement_is_the_difference_of_two_hypervolumes(points: np.ndarray, seed: int) -> None:
    reference = np.full(points.shape[1], 1.1)
    new = np.random.default_rng(seed).random((3, points.shape[1])) * 1.2
    gains = hypervolume_improvement(new, points, reference)
    for point, gain in zip(new, gains, strict=True):
        after = hypervolume(np.vstack([points, point]), reference)
        assert gain == pytest.approx(after - hypervolume(points, reference), abs=1e-9)


def test_hypervolume_of_nothing_and_of_points_beyond_the_reference_is_zero() -> None:
    assert hypervolume(np.zeros((0, 2)), np.ones(2)) == 0
    assert hypervolume(np.array([[2.0, 0.1]]), np.ones(2)) == 0


def test_reference_point_lies_beyond_the_front_in_each_objective() -> None:
    losses = np.array([[0.0, 10.0], [1.0, 0.0], [5.0, 50.0]])
    assert reference_point(losses) == pytest.approx([1.1, 11.0])


def test_knee_is_the_front_point_nearest_to_the_ideal() -> None:
    losses = np.array([[0.0, 1.0], [0.1, 0.2], [1.0, 0.0], [0.05, 5.0]])
    assert knee(losses) == 1
    with pytest.raises(ValueError, match="no points"):
        knee(np.zeros((0, 2)))
