from __future__ import annotations

import numpy as np
import pytest

from greennas.predictors import EnergyPredictor
from greennas.predictors.physics import cost_features
from greennas.predictors.spread import choose_spread


def test_each_network_is_as_likely_to_be_chosen(profiles):
    few, runs = profiles[:30], 600
    times = np.zeros(len(few))
    for seed in range(runs):
        chosen = choose_spread(few, 6, seed)
        assert len(set(chosen)) == len(chosen) == 6
        times[chosen] += 1
    expected = runs * 6 / 30
    assert np.abs(times - expected).max() < 4.5 * np.sqrt(expected * (1 - 6 / 30))


def test_networks_alike_are_seldom_chosen_together(profiles):
    def nearest(choose) -> float:
        logs = np.log1p(cost_features(profiles))
        found = []
        for seed in range(20):
            x = logs[choose(seed)]
            distances = ((x[:, None] - x[None]) ** 2).sum(axis=2) + np.diag(np.full(len(x), np.inf))
            found.append(distances.min(axis=1).mean())
        return float(np.mean(found))

    by_chance = nearest(lambda seed: np.random.default_rng(seed).choice(len(profiles), 20, replace=False))
    assert nearest(lambda seed: choose_spread(profiles, 20, seed)) > 1.15 * by_chance


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_intervals_from_networks_chosen_by_spread_hold(profiles, true_joules, noise):
    inside = []
    for seed in range(25):
        joules = true_joules(profiles, noise, seed)
        chosen = choose_spread(profiles, 20, seed)
        prediction = EnergyPredictor().fit([profiles[i] for i in chosen], joules[chosen]).predict(profiles)
        hit = (prediction.low_j <= joules) & (joules <= prediction.high_j)
        inside.append(np.delete(hit, chosen).mean())
    assert 0.86 < np.mean(inside) < 0.95
