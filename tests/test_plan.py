"""What a plan and a network's output have to be before anything is trained."""

from __future__ import annotations

import pytest
import torch

from greennas.errors import ConfigError, TrainingError
from greennas.training.plan import TrainingPlan
from greennas.training.rung import Rung
from greennas.training.weights import check_output


def test_a_plan_survives_json_and_unknown_fields_are_named() -> None:
    plan = TrainingPlan(epochs=3, batch_size=16, learning_rate=0.2)
    assert TrainingPlan.from_json(plan.to_json()) == plan
    with pytest.raises(ConfigError, match=r"Not a training plan: .*'steps'; give the fields"):
        TrainingPlan.from_json({**plan.to_json(), "steps": 3})


def test_plan_travels_as_json_and_refuses_nonsense() -> None:
    plan = TrainingPlan(epochs=2.5, rungs=(Rung(4, resolution=6, data_share=0.5), 1, 2), seed=3)
    assert TrainingPlan.from_json(plan.to_json()) == plan
    for wrong in (
        {"epochs": 0},
        {"batch_size": 1},
        {"batch_size": 32.5},
        {"microbatch": 1},
        {"microbatch": 8.0},
        {"seed": 0.5},
        {"learning_rate": float("nan")},
        {"learning_rate": "fast"},
        {"momentum": 1.0},
        {"label_smoothing": 1.0},
        {"precision": "float8"},
        {"rungs": (4,)},
        {"rungs": (2, 1)},
        {"speed": 1},
    ):
        with pytest.raises(ConfigError, match=rf"{next(iter(wrong))}\b.*; "):
            TrainingPlan.from_json(wrong)


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        ((torch.zeros(4, 10),), "returns a tuple, not a tensor of logits; mend its forward"),
        (torch.zeros(4, 9), r"shape \(4, 9\) for 4 images of 10"),
        (torch.zeros(4, 10, dtype=torch.int64), r"int64"),
    ],
)
def test_what_is_no_logits_is_named(logits: object, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        check_output(logits, 4, 10)
