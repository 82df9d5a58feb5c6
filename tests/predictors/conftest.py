from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import optuna
import pytest

from greennas.profile import CostProfile
from greennas.space import load_space


@functools.cache
def _sampled(count: int = 160, space: str = "nasbench101") -> list[CostProfile]:
    """Profiles of different random cells."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    loaded, found = load_space(space), {}
    while len(found) < count:
        params = loaded.sample(study.ask())
        found[loaded.canonical(params)] = params
    return [loaded.profile(params, batch_size=256) for params in found.values()]


@pytest.fixture(scope="session")
def true_joules() -> Callable[..., np.ndarray]:
    return _joules


@pytest.fixture(scope="session")
def other_profiles() -> list[CostProfile]:
    return _sampled(20, "nasbench201")


@pytest.fixture(scope="session")
def profiles() -> list[CostProfile]:
    return _sampled()


def _joules(profiles: list[CostProfile], noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A machine whose prices differ from the prior ones and whose power grows with the share of convolutions."""
    convolutions = np.array([p.flops["conv3x3"] for p in profiles])
    traffic = np.array([p.activation_bytes for p in profiles])
    launches = np.array([p.num_kernels for p in profiles])
    work = 3e-6 * convolutions + 1e-4 * traffic + 5.0 * launches
    power = 1 + 0.3 * np.tanh(3e-6 * convolutions / work)
    return work * power * np.exp(noise * np.random.default_rng(seed).standard_normal(len(profiles)))
