from __future__ import annotations

import numpy as np
import pytest

from greennas.predictors.gaussian_process import GaussianProcess


def wave(count: int, noise: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4))
    return x, 3 * np.sin(2 * x[:, 0]) + x[:, 1] + noise * rng.standard_normal(count)


@pytest.mark.parametrize("relevance", [0.0, 1.0])
def test_interpolates_and_estimates_noise(relevance):
    x, y = wave(150)
    process = GaussianProcess(relevance=relevance).fit(x[:100], y[:100])
    mean, std = process.predict(x[100:], noise=1.0)
    assert np.mean((mean - y[100:]) ** 2) < 0.3 * np.var(y)
    assert np.mean(np.abs(mean - y[100:]) < 1.96 * std) > 0.8


def test_relevance_finds_the_inputs_that_matter():
    x, y = wave(150)
    error = [
        np.mean((GaussianProcess(relevance=relevance).fit(x[:60], y[:60]).predict(x[60:])[0] - y[60:]) ** 2)
        for relevance in (0.0, 1.0)
    ]
    assert error[1] < 0.7 * error[0]


def test_noise_estimate():
    x, y = wave(250, noise=0.5)
    assert GaussianProcess(relevance=1.0).fit(x, y).noise_std == pytest.approx(0.5, rel=0.3)


def test_leave_one_out_is_what_leaving_out_gives():
    x, y = wave(60)
    process = GaussianProcess().fit(x, y)
    means, stds = process.leave_one_out()
    for left in range(0, 60, 6):
        others = np.arange(60) != left
        mean, std = GaussianProcess().fit(x[others], y[others], start=process).predict(x[left : left + 1], noise=1.0)
        assert means[left] == pytest.approx(mean[0], abs=0.15 * y.std())
        assert stds[left] == pytest.approx(std[0], rel=0.2)
    assert np.abs(means - y).mean() > 2 * np.abs(process.predict(x)[0] - y).mean()


def test_gradient_leads_to_a_better_posterior_than_the_prior():
    x, y = wave(80)
    tuned = GaussianProcess(relevance=1.0).fit(x[:60], y[:60]).predict(x[60:])[0]
    untuned = GaussianProcess(max_iterations=0).fit(x[:60], y[:60]).predict(x[60:])[0]
    assert np.mean((tuned - y[60:]) ** 2) < np.mean((untuned - y[60:]) ** 2)
