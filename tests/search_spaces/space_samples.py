"""Samples of a space by Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna

from greennas.space import SearchSpace


def samples(space: SearchSpace, count: int) -> Iterator[dict[str, Any]]:
    """Parameters of ``count`` random architectures; Optuna refuses a name whose choices change."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        trial = study.ask()
        yield space.sample(trial)
        study.tell(trial, 0.0)
