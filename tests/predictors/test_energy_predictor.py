from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, kendalltau
from torch import nn

from greennas.errors import GreenNASError
from greennas.predictors import EnergyPredictor, Prediction
from greennas.predictors.physics import PRIOR_PRICES, physical_score, physical_terms
from greennas.profile import profile

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GREENNAS_TEST_DATA", ROOT.parent / "shared" / "data" / "ec-nas"))


def test_ranks_by_physics_before_any_measurement(profiles, true_joules):
    prediction = EnergyPredictor().predict(profiles)
    assert prediction.relative
    assert kendalltau(prediction.mean_j, true_joules(profiles)).statistic > 0.7
    assert (prediction.low_j == 0).all()
    assert np.isinf(prediction.high_j).all()
    fitted = EnergyPredictor().fit([], []).predict(profiles)
    np.testing.assert_array_equal(fitted.mean_j, prediction.mean_j)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 60])
def test_shapes_order_and_scale(profiles, true_joules, count):
    joules = true_joules(profiles)
    prediction = EnergyPredictor().fit(profiles[:count], joules[:count]).predict(profiles[60:])
    for part in (prediction.mean_j, prediction.low_j, prediction.high_j, prediction.outside):
        assert part.shape == (100,)
    assert not prediction.relative
    assert (prediction.low_j > 0).all()
    assert (prediction.low_j < prediction.mean_j).all()
    assert (prediction.mean_j < prediction.high_j).all()
    assert np.isfinite(prediction.high_j).all()
    assert np.mean(np.abs(prediction.mean_j / joules[60:] - 1)) < 0.5


def test_learns_from_measurements(profiles, true_joules):
    joules = true_joules(profiles, noise=0.02)

    def error(count: int) -> float:
        prediction = EnergyPredictor().fit(profiles[:count], joules[:count]).predict(profiles[100:])
        return float(np.mean(np.abs(prediction.mean_j / joules[100:] - 1)))

    assert error(100) < 0.03
    assert error(100) < error(10) < error(1)


def test_joules_of_any_scale(profiles, true_joules):
    joules = true_joules(profiles, noise=0.02)
    small = EnergyPredictor().fit(profiles[:40], 1e-6 * joules[:40]).predict(profiles[40:])
    large = EnergyPredictor().fit(profiles[:40], 1e9 * joules[:40]).predict(profiles[40:])
    np.testing.assert_allclose(small.mean_j * 1e15, large.mean_j, rtol=0.005)


def test_same_input_same_output(profiles, true_joules):
    joules = true_joules(profiles, noise=0.05)
    first, second = (EnergyPredictor().fit(profiles[:30], joules[:30]).predict(profiles) for _ in range(2))
    np.testing.assert_array_equal(first.mean_j, second.mean_j)
    np.testing.assert_array_equal(first.high_j, second.high_j)


def test_fit_again_forgets(profiles, true_joules):
    joules = true_joules(profiles)
    predictor = EnergyPredictor().fit(profiles[:60], 7 * joules[:60])
    again = predictor.fit(profiles[:20], joules[:20]).predict(profiles[60:])
    fresh = EnergyPredictor().fit(profiles[:20], joules[:20]).predict(profiles[60:])
    np.testing.assert_array_equal(again.mean_j, fresh.mean_j)


@pytest.mark.parametrize("count", [10, 20, 55])
def test_intervals_cover_nine_in_ten(profiles, true_joules, count):
    hits, runs = 0, 40
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(len(profiles))
        joules = true_joules(profiles, noise=0.05, seed=seed)
        train, held_out = order[:count], order[count]  # one point a run, so that the trials are independent
        predictor = EnergyPredictor().fit([profiles[i] for i in train], joules[train])
        prediction = predictor.predict([profiles[held_out]])
        hits += int(prediction.low_j[0] <= joules[held_out] <= prediction.high_j[0])
    low, high = binom.ppf([0.002, 0.9999], runs, 0.9)
    assert low <= hits <= high


def test_intervals_are_not_needlessly_wide(profiles, true_joules):
    joules = true_joules(profiles, noise=0.05)
    prediction = EnergyPredictor().fit(profiles[:60], joules[:60]).predict(profiles[60:])
    widths = np.log(prediction.high_j / prediction.low_j)
    assert np.median(widths) < 2 * 1.645 * 0.05 * 1.6


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_measurements_give_usable_intervals(profiles, true_joules, count):
    joules = true_joules(profiles, noise=0.05)
    prediction = EnergyPredictor().fit(profiles[:count], joules[:count]).predict(profiles[60:])
    assert np.mean((prediction.low_j <= joules[60:]) & (joules[60:] <= prediction.high_j)) > 0.6
    assert np.median(prediction.high_j / prediction.low_j) < 4


def test_networks_far_away_are_outside(profiles, true_joules):
    predictor = EnergyPredictor().fit(profiles[:80], true_joules(profiles)[:80])
    assert predictor.predict(profiles[:80]).outside.sum() == 0
    assert predictor.predict(profiles[80:]).outside.mean() < 0.4
    huge = replace(profiles[0].times(20), batch_size=profiles[0].batch_size)
    assert predictor.predict([huge]).outside.all()
    ratio = predictor.predict([huge]).mean_j / predictor.predict(profiles[:1]).mean_j
    assert 5 < ratio[0] < 80


def test_spaces_of_different_scale_together(profiles, true_joules, other_profiles):
    mixed = [*profiles[:40], *(p.times(1000) for p in profiles[40:60]), *other_profiles]
    joules = true_joules(mixed, noise=0.02)
    prediction = EnergyPredictor().fit(mixed[::2], joules[::2]).predict(mixed[1::2])
    assert np.mean(np.abs(np.log(prediction.mean_j / joules[1::2]))) < 0.4


def test_one_network_many_times(profiles):
    prediction = EnergyPredictor().fit([profiles[0]] * 12, np.full(12, 50.0)).predict(profiles[:3])
    assert prediction.mean_j[0] == pytest.approx(50, rel=0.01)
    assert np.isfinite(prediction.high_j).all()
    assert prediction.outside.tolist() == [False, True, True]


def test_identical_joules(profiles):
    prediction = EnergyPredictor().fit(profiles[:12], np.full(12, 50.0)).predict(profiles[:12])
    assert np.isfinite(prediction.mean_j).all()
    assert (prediction.high_j > prediction.low_j).all()


def test_noisy_measurements_count_less(profiles, true_joules):
    joules = true_joules(profiles)
    spoilt = joules[:40].copy()
    spoilt[::2] *= 1.6
    noise = np.where(np.arange(40) % 2, 0.02, 0.6)

    def error(**how: object) -> float:
        prediction = EnergyPredictor().fit(profiles[:40], spoilt, **how).predict(profiles[40:])
        return float(np.mean(np.abs(prediction.mean_j / joules[40:] - 1)))

    assert error(noise=noise) < 0.5 * error()


@pytest.mark.parametrize(
    "joules", [[1.0, 0.0], [1.0, -2.0], [1.0, None], [1.0, float("nan")], [1.0, float("inf")], [1.0], [1.0, "much"]]
)
def test_impossible_energies_are_refused(profiles, joules):
    with pytest.raises(GreenNASError):
        EnergyPredictor().fit(profiles[:2], joules)


def test_a_network_that_does_nothing_is_refused():
    with pytest.raises(GreenNASError, match="computes and moves nothing"):
        EnergyPredictor().fit([profile(nn.Identity(), (3, 8, 8))], [1.0])


def test_predicts_thousands_from_hundreds(profiles, true_joules):
    many = (profiles * 40)[:5200]
    predictor = EnergyPredictor()
    predictor.fit(many[:400], true_joules(many[:400], noise=0.02))
    assert np.isfinite(predictor.predict(many).mean_j).all()


def test_begins_with_the_prices_of_the_device(profiles):
    for kind, prices in PRIOR_PRICES.items():
        score = physical_score(physical_terms(profiles), prices)
        assert EnergyPredictor(device_type=kind).predict(profiles).mean_j == pytest.approx(score)
        one = EnergyPredictor(device_type=kind).fit(profiles[:1], [7.0]).predict(profiles)
        assert kendalltau(one.mean_j, score).statistic > 0.95
    with pytest.raises(GreenNASError, match="not for 'tpu'"):
        EnergyPredictor(device_type="tpu")


def test_probe_moves_the_prediction_and_narrows_it():
    prediction = Prediction(
        np.array([100.0, 100.0]), np.array([80.0, 80.0]), np.array([125.0, 125.0]), np.array([True, True])
    )
    updated = prediction.updated([120.0, float("nan")], sigma=0.05)
    assert 110 < updated.mean_j[0] < 120
    assert updated.high_j[0] / updated.low_j[0] < np.exp(2 * 1.645 * 0.05)
    assert updated.mean_j[1] == 100
    assert (updated.low_j[1], updated.high_j[1]) == (80, 125)
    assert updated.outside.tolist() == [False, True]
    equal = prediction.updated([120.0, 120.0], sigma=float(prediction.log_std[0]))
    assert equal.mean_j[0] == pytest.approx(np.sqrt(100 * 120))


def test_impossible_probes_are_refused(profiles, true_joules):
    prediction = EnergyPredictor().fit(profiles[:5], true_joules(profiles)[:5]).predict(profiles[:2])
    for probe, sigma in (([1.0], 0.1), ([1.0, 0.0], 0.1), ([1.0, 1.0], 0.0)):
        with pytest.raises(GreenNASError):
            prediction.updated(probe, sigma)
    with pytest.raises(GreenNASError):
        EnergyPredictor().predict(profiles[:1]).updated([1.0], 0.1)


def error(predictor: EnergyPredictor, profiles, joules) -> float:
    return float(np.mean(np.abs(predictor.predict(profiles).mean_j / joules - 1)))


def test_a_prior_of_another_scale_saves_measurements(profiles, true_joules):
    joules = true_joules(profiles, noise=0.02)
    prior = EnergyPredictor().fit(profiles[:60], joules[:60] / 1000)
    for count in (1, 5, 10):
        chosen = profiles[60 : 60 + count], joules[60 : 60 + count]
        alone, helped = EnergyPredictor().fit(*chosen), EnergyPredictor(prior).fit(*chosen)
        assert error(helped, profiles[80:], joules[80:]) < error(alone, profiles[80:], joules[80:])
    assert error(helped, profiles[80:], joules[80:]) < 0.05


def test_a_misleading_prior_is_left_aside(profiles, true_joules):
    joules = true_joules(profiles, noise=0.02)
    prior = EnergyPredictor().fit(profiles[:60], np.exp(np.random.default_rng(0).normal(0, 2, 60)))
    chosen = profiles[60:120], joules[60:120]
    alone, misled = EnergyPredictor().fit(*chosen), EnergyPredictor(prior).fit(*chosen)
    assert error(misled, profiles[120:], joules[120:]) < 1.5 * error(alone, profiles[120:], joules[120:]) + 0.01


def test_a_prior_ranks_before_any_measurement_and_says_no_joules(profiles, true_joules):
    joules = true_joules(profiles)
    prior = EnergyPredictor().fit(profiles[:60], joules[:60])
    prediction = EnergyPredictor(prior).predict(profiles[60:])
    assert prediction.relative
    tau = kendalltau(prediction.mean_j, joules[60:]).statistic
    assert tau > kendalltau(EnergyPredictor().predict(profiles[60:]).mean_j, joules[60:]).statistic
    unfitted = EnergyPredictor(EnergyPredictor()).fit(profiles[:5], joules[:5]).predict(profiles[60:])
    np.testing.assert_array_equal(
        unfitted.mean_j, EnergyPredictor().fit(profiles[:5], joules[:5]).predict(profiles[60:]).mean_j
    )


def test_what_a_prior_has_seen_is_not_outside(profiles, true_joules):
    joules = true_joules(profiles, noise=0.02)
    prior = EnergyPredictor().fit(profiles[:120], joules[:120])
    alone, helped = (EnergyPredictor(each).fit(profiles[120:126], joules[120:126]) for each in (None, prior))
    assert helped.predict(profiles[:100]).outside.mean() < alone.predict(profiles[:100]).outside.mean()


@pytest.mark.parametrize("count", [20, 60])
def test_times_save_measurements_where_power_is_noisy(profiles, true_joules, count):
    seconds = true_joules(profiles)
    noisy = 100 * seconds * np.exp(np.random.default_rng(0).normal(0, 0.15, len(profiles)))
    chosen = profiles[:count], noisy[:count]
    alone, timed = EnergyPredictor().fit(*chosen), EnergyPredictor().fit(*chosen, seconds=seconds[:count])
    judged = profiles[60:], 100 * seconds[60:]
    assert error(timed, *judged) < 0.75 * error(alone, *judged)
    assert np.median(timed.prices / alone.prices) == 1


@pytest.mark.parametrize(("of_time", "of_power"), [(0.1, 0.0), (0.07, 0.07)])
def test_intervals_know_that_new_networks_were_not_timed(profiles, true_joules, of_time, of_power):
    hits, runs, count = 0, 40, 10
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(len(profiles))
        seconds = true_joules(profiles, noise=of_time, seed=seed)
        joules = 100 * seconds * np.exp(of_power * np.random.default_rng(1000 + seed).standard_normal(len(profiles)))
        train, held_out = order[:count], order[count]
        predictor = EnergyPredictor().fit([profiles[i] for i in train], joules[train], seconds=seconds[train])
        prediction = predictor.predict([profiles[held_out]])
        hits += int(prediction.low_j[0] <= joules[held_out] <= prediction.high_j[0])
    low, high = binom.ppf([0.002, 0.9999], runs, 0.9)
    assert low <= hits <= high


def test_intervals_of_hundreds_of_timed_networks(profiles, true_joules):
    many = (profiles * 2)[:300]
    seconds = true_joules(many, noise=0.1)
    prediction = EnergyPredictor().fit(many, 100 * seconds, seconds=seconds).predict(profiles)
    truth = 100 * true_joules(profiles, noise=0.1, seed=5)
    assert 0.8 < np.mean((prediction.low_j <= truth) & (truth <= prediction.high_j)) < 0.97


def test_misleading_or_few_times_are_left_aside(profiles, true_joules):
    joules = true_joules(profiles, noise=0.02)
    random = np.exp(np.random.default_rng(0).normal(0, 2, len(profiles)))
    for count, seconds in ((60, random), (4, joules)):
        alone = EnergyPredictor().fit(profiles[:count], joules[:count])
        timed = EnergyPredictor().fit(profiles[:count], joules[:count], seconds=seconds[:count])
        np.testing.assert_array_equal(timed.predict(profiles).high_j, alone.predict(profiles).high_j)


def test_times_and_a_prior_together(profiles, true_joules):
    seconds, joules = true_joules(profiles), 100 * true_joules(profiles, noise=0.15)
    prior = EnergyPredictor().fit(profiles[:60], seconds[:60])
    predictor = EnergyPredictor(prior).fit(profiles[60:75], joules[60:75], seconds=seconds[60:75])
    prediction = predictor.predict(profiles[75:])
    alone = EnergyPredictor().fit(profiles[60:75], joules[60:75])
    judged = profiles[75:], 100 * seconds[75:]
    assert error(predictor, *judged) < 0.9 * error(alone, *judged)
    assert (prediction.low_j < prediction.mean_j).all()
    assert prediction.outside.mean() < 0.5


@pytest.mark.parametrize("seconds", [[1.0], [1.0, 2.0, 3.0], [1.0, 0.0], [1.0, -1.0], [1.0, None], 1.0, ["long", 2]])
def test_impossible_times_are_refused(profiles, seconds):
    with pytest.raises(GreenNASError, match="training times"):
        EnergyPredictor().fit(profiles[:2], [1.0, 2.0], seconds=seconds)


@pytest.mark.skipif(not (DATA / "7v_data.pt").exists(), reason="needs EC-NAS's 7v_data.pt (GREENNAS_TEST_DATA)")
def test_fifty_trainings_of_ecnas_7v(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments" / "energy_predictor"))
    sys.modules.pop("data", None)
    from data import load

    table = load("7V", DATA)
    train, validation, test = table.split()
    assert (len(train), len(validation), len(test)) == (3017, 431, 862)
    drawn = np.random.default_rng(0).choice(train, 50, replace=False)
    predictor = EnergyPredictor().fit([table.profiles[i] for i in drawn], table.energy_j[drawn])
    prediction = predictor.predict([table.profiles[i] for i in validation])
    truth = table.energy_j[validation]
    assert np.mean(np.abs(prediction.mean_j / truth - 1)) < 0.03
    assert kendalltau(prediction.mean_j, truth).statistic > 0.94
    assert np.mean((prediction.low_j <= truth) & (truth <= prediction.high_j)) > 0.75
