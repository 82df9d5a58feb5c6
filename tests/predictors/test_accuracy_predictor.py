from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

import greennas
from greennas.errors import GreenNASError
from greennas.predictors import AccuracyPredictor, PredictorError
from greennas.sampler.candidates import ReplayTrial


def problem(count: int, noise: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with one-hot columns and a constant one, noisy accuracies, true accuracies."""
    rng = np.random.default_rng(seed)
    kinds = np.eye(3)[rng.integers(0, 3, count)]
    numbers = rng.normal(size=(count, 6))
    truth = 0.6 + 0.15 * np.tanh(numbers[:, 0]) + 0.1 * kinds[:, 1] - 0.05 * kinds[:, 2] * numbers[:, 1]
    features = np.column_stack([kinds, 1e9 * numbers, np.ones(count)])
    return features, truth + noise * rng.standard_normal(count), truth


def test_learns_and_ranks():
    features, accuracy, truth = problem(400)
    mean, std = AccuracyPredictor().fit(features[:80], accuracy[:80]).predict(features[80:])
    assert mean.shape == std.shape == (320,)
    assert (std > 0).all()
    assert kendalltau(mean, truth[80:]).statistic > 0.6
    assert np.mean(np.abs(mean - truth[80:])) < 0.06


def test_finds_the_noise():
    features, accuracy, _ = problem(200, noise=0.08)
    assert 0.05 < AccuracyPredictor().fit(features, accuracy).noise_std < 0.11


@pytest.mark.parametrize("count", [15, 60])
def test_deviation_is_honest(count):
    inside = []
    for seed in range(10):
        features, accuracy, truth = problem(count + 200, seed=seed)
        mean, std = AccuracyPredictor().fit(features[:count], accuracy[:count]).predict(features[count:])
        inside.append(np.mean(np.abs(mean - truth[count:]) <= 1.645 * std))
    assert 0.8 < np.mean(inside) < 0.995


def test_deviation_shrinks_near_measurements():
    features, accuracy, _ = problem(120, noise=0.01)
    predictor = AccuracyPredictor().fit(features[:60], accuracy[:60])
    assert predictor.predict(features[:60])[1].mean() < predictor.predict(features[60:])[1].mean()


def test_an_update_with_the_same_networks_changes_nothing():
    features, accuracy, _ = problem(60)
    predictor = AccuracyPredictor().fit(features[:40], accuracy[:40])
    again = predictor.updated(features[:40], accuracy[:40])
    np.testing.assert_allclose(again.predict(features), predictor.predict(features))


def test_an_update_learns_from_new_networks_and_leaves_the_old_predictor_alone():
    features, accuracy, truth = problem(300, noise=0.02)
    predictor = AccuracyPredictor().fit(features[:30], accuracy[:30])
    before = predictor.predict(features[200:])
    after = predictor.updated(features[:200], accuracy[:200]).predict(features[200:])
    assert np.abs(after[0] - truth[200:]).mean() < 0.9 * np.abs(before[0] - truth[200:]).mean()
    np.testing.assert_array_equal(predictor.predict(features[200:]), before)
    with pytest.raises(GreenNASError):
        AccuracyPredictor().updated(features, accuracy)
    with pytest.raises(GreenNASError):
        predictor.updated(features[:, :3], accuracy)


def test_same_seed_same_output():
    features, accuracy, _ = problem(60)
    first, second = (AccuracyPredictor(seed=3).fit(features[:40], accuracy[:40]).predict(features) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_few_points(count):
    features, accuracy, _ = problem(20)
    mean, std = AccuracyPredictor().fit(features[:count], accuracy[:count]).predict(features)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


def test_constant_features_and_accuracies():
    mean, std = AccuracyPredictor().fit(np.ones((10, 4)), np.full(10, 0.5)).predict(np.ones((2, 4)))
    np.testing.assert_allclose(mean, 0.5)
    assert np.isfinite(std).all()


@pytest.mark.parametrize("count", [1, 10])
def test_one_network_tells_little_about_others(count):
    predictor = AccuracyPredictor().fit(np.ones((count, 4)), np.full(count, 0.5))
    _, std = predictor.predict([[1, 1, 1, 1], [1, 1, 2, 1]])
    assert std[1] >= 0.1
    assert std[0] < std[1]


def test_noisy_points_count_less():
    features, _, truth = problem(300)
    wrong = truth[:60].copy()
    wrong[::2] = 0.1
    noise = np.where(np.arange(60) % 2, 0.01, 0.5)

    def error(**how: object) -> float:
        mean, _ = AccuracyPredictor().fit(features[:60], wrong, **how).predict(features[60:])
        return float(np.mean(np.abs(mean - truth[60:])))

    assert error(noise=noise) < 0.5 * error()


def test_wrong_input_is_refused():
    features, accuracy, _ = problem(10)
    for bad_features, bad_accuracy in (
        (features[:0], []),
        (features, accuracy[:5]),
        (features, np.full(10, np.nan)),
        (np.where(features == 1, np.inf, features), accuracy),
        (features[0], accuracy[:1]),
    ):
        with pytest.raises(GreenNASError):
            AccuracyPredictor().fit(bad_features, bad_accuracy)
    with pytest.raises(GreenNASError):
        AccuracyPredictor().predict(features)
    with pytest.raises(GreenNASError):
        AccuracyPredictor().fit(features, accuracy).predict(features[:, :3])


def test_of_no_networks_there_are_no_predictions() -> None:
    features, accuracy, _ = problem(10)
    fitted = AccuracyPredictor().fit(features, accuracy)
    for none in ([], features[:0]):
        assert len(fitted.predict(none).mean) == 0
        with pytest.raises(GreenNASError, match="first"):
            AccuracyPredictor().predict(none)


def test_profiles_and_signals_stand_in_for_a_table() -> None:
    """A signal that tells what costs do not: the predictor that sees it ranks better."""
    space, rng = greennas.load_space("nasbench201"), np.random.default_rng(0)
    profiles = [space.profile(space.sample(ReplayTrial(rng))) for _ in range(80)]
    hidden = rng.standard_normal((80, 1))
    accuracy = 0.6 + 0.1 * hidden[:, 0] + 0.01 * rng.standard_normal(80)
    blind = AccuracyPredictor().fit(profiles[:50], accuracy[:50]).predict(profiles[50:])
    told = (
        AccuracyPredictor().fit(profiles[:50], accuracy[:50], signals=hidden[:50]).predict(profiles[50:], hidden[50:])
    )
    assert np.abs(told.mean - accuracy[50:]).mean() < 0.5 * np.abs(blind.mean - accuracy[50:]).mean()
    assert np.mean((told.low < accuracy[50:]) & (accuracy[50:] < told.high)) > 0.7
    with pytest.raises(PredictorError, match="one row for each"):
        AccuracyPredictor().fit(profiles, accuracy, signals=hidden[:10])
