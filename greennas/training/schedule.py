"""The learning rate along a training."""

from __future__ import annotations

import math

from greennas.training.plan import TrainingPlan

ONE_CYCLE_RISE = 0.25
"""Share of a one-cycle training in which the learning rate rises."""


def learning_rate(plan: TrainingPlan, step: int, train_images: int) -> float:
    """The learning rate of step ``step`` (from 0) of a training on ``train_images`` images.

    ``constant`` and ``cosine`` rise linearly for half an epoch. ``onecycle`` rises linearly for a quarter of the steps
    and falls linearly to 0: L. N. Smith, N. Topin, arXiv 1708.07120, without its last phase and with constant momentum.
    """
    steps = plan.steps(train_images)
    if plan.schedule == "onecycle":
        rise = max(1, round(ONE_CYCLE_RISE * steps))
        return plan.learning_rate * min((step + 1) / rise, max(0.0, steps - step) / (steps - rise + 1))
    rate = plan.learning_rate * min(1.0, (step + 1) / max(1, plan.steps_per_epoch(train_images) // 2))
    if plan.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * step / steps)) / 2
    return rate
