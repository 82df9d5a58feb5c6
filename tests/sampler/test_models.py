"""Models of losses: what a candidate promises."""

from __future__ import annotations

import numpy as np
import pytest

import greennas
from greennas.pareto import hypervolume_improvement
from greennas.sampler.candidates import Candidate, CandidateFactory
from greennas.sampler.losses import Scale
from greennas.sampler.models import FittedModels, LossModel, expected_improvement

SHARE = Scale("accuracy", True, 1.0)


@pytest.fixture(scope="module")
def candidates() -> list[Candidate]:
    factory = CandidateFactory(greennas.load_space("nasbench201"), (3, 32, 32), 10, 128)
    return factory.pool(700, 0, 0, [], [])


def accuracies(candidates: list[Candidate]) -> list[float]:
    rng = np.random.default_rng(0)
    return [0.9 - 0.5 * float(np.exp(-c.profile.total_flops / 1e8)) + 0.02 * rng.standard_normal() for c in candidates]


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


@pytest.mark.parametrize("metric", ["accuracy", "train_energy_j"])
def test_models_are_a_function_of_the_trainings_not_of_when_they_were_asked(
    candidates: list[Candidate], metric: str
) -> None:
    """Hyperparameters come from the first trainings; one that joins late chooses the same as one that saw them grow."""
    values = accuracies(candidates)
    scale, steady = Scale.of(metric, metric == "accuracy", values), FittedModels()
    for count in range(2, 48, 3):
        measured = candidates[:count], values[:count], candidates[100:120]
        seen = LossModel(scale, steady).predict(*measured)
        anew = LossModel(scale, FittedModels()).predict(*measured)
        np.testing.assert_array_equal(seen, anew)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_flops_are_exact_in_either_direction_unless_a_table_counts_otherwise(
    candidates: list[Candidate], maximize: bool, unit: float
) -> None:
    values = [c.profile.total_flops / unit for c in candidates[:40]]
    scale = Scale.of("flops", maximize, values)
    mean, deviation = LossModel(scale, FittedModels()).predict(candidates[:30], values[:30], candidates[30:40])
    truth = scale.losses(values[30:])
    if unit == 1.0:
        assert mean == pytest.approx(truth)
        assert not deviation.any()
    else:
        assert np.corrcoef(mean, truth)[0, 1] > 0.9
        assert np.abs(mean - truth).mean() < (0.3 if not maximize else 0.3 * np.ptp(truth))
        assert deviation.all()


def test_of_thousands_of_trainings_a_part_is_enough(candidates: list[Candidate]) -> None:
    values = accuracies(candidates)
    rest = candidates[650:]
    mean, deviation = LossModel(SHARE, FittedModels()).predict(candidates[:650], values[:650], rest)
    truth = SHARE.losses([0.9 - 0.5 * float(np.exp(-c.profile.total_flops / 1e8)) for c in rest])
    assert np.abs(mean - truth).mean() < 0.1
    assert np.mean(np.abs(mean - truth) < 2 * deviation) > 0.8


def test_new_trainings_count_before_models_are_fitted_anew(candidates: list[Candidate]) -> None:
    models, values = FittedModels(), accuracies(candidates)
    before, _ = LossModel(SHARE, models).predict(candidates[:66], values[:66], candidates[66:70])
    values[66:70] = [0.1] * 4
    after, _ = LossModel(SHARE, models).predict(candidates[:70], values[:70], candidates[66:70])
    assert (after > before + 0.05).all()
