"""Models of losses: what a candidate promises."""

from __future__ import annotations

import numpy as np
import pytest

from greennas.pareto import hypervolume_improvement
from greennas.sampler.models import expected_improvement


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_expected_improvement_is_the_mean_over_draws(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    front, reference = rng.random((6, objectives)), np.full(objectives, 1.1)
    mean, deviation = rng.random((5, objectives)), 0.3 * rng.random((5, objectives))
    draws = mean + deviation * rng.standard_normal((20_000, 1, objectives))
    gains = hypervolume_improvement(draws, front, reference)
    exact = expected_improvement(mean, deviation, front, reference)
    assert np.abs(exact - gains.mean(axis=0)).max() < 5 * (gains.std(axis=0) / np.sqrt(len(gains))).max()
    assert exact.max() > 0


def test_what_is_known_exactly_promises_what_it_brings() -> None:
    front, reference = np.array([[0.2, 0.8], [0.6, 0.3]]), np.ones(2)
    mean = np.array([[0.1, 0.5], [0.7, 0.9], [0.4, 0.1]])
    gains = hypervolume_improvement(mean, front, reference)
    assert expected_improvement(mean, np.zeros((3, 2)), front, reference) == pytest.approx(gains)
    assert gains[1] == 0
