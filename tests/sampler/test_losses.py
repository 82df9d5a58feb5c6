"""How metrics are seen as losses."""

from __future__ import annotations

import numpy as np
import pytest

from greennas.errors import ConfigError
from greennas.sampler.losses import Scale


@pytest.mark.parametrize(
    ("metric", "maximize", "values"),
    [
        ("accuracy", True, [0.1, 0.93, 0.99]),
        ("val_acc", True, [10.0, 0.8, 93.0]),
        ("accuracy", True, [101.0, 250.0]),
        ("score", True, [-3.0, 2.5]),
        ("train_energy_j", False, [0.5, 1e6]),
        ("perplexity", False, [12.0, 80.0]),
    ],
)
def test_a_loss_keeps_the_order_and_can_be_turned_back(metric: str, maximize: bool, values: list[float]) -> None:
    scale = Scale.of(metric, maximize, values)
    losses = scale.losses(values)
    assert [scale.value(loss) for loss in losses] == pytest.approx(values)
    assert (np.argsort(losses) == np.argsort(values)[:: -1 if maximize else 1]).all()


def test_accuracies_are_seen_alike_in_percent_and_as_shares() -> None:
    share, percent = Scale.of("accuracy", True, [0.008, 0.9]), Scale.of("accuracy", True, [0.8, 90.0])
    assert share.losses([0.008, 0.9]) == pytest.approx(percent.losses([0.8, 90.0]))


def test_halving_the_error_is_what_counts_until_it_is_luck() -> None:
    steps = -np.diff(Scale("accuracy", True, 1.0).losses([0.2, 0.6, 0.8, 0.999, 1.0]))
    assert steps[0] == pytest.approx(steps[1], rel=0.05)
    assert steps[3] < 0.1 < np.log(2)


def test_a_cost_of_nothing_has_no_logarithm() -> None:
    with pytest.raises(ConfigError, match="has to be above 0"):
        Scale("latency_ms", False).losses([1.0, 0.0])
