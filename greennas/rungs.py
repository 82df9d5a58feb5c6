"""Growing budgets: which trainings go on after a rung."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from greennas.data import Dataset
from greennas.errors import ConfigError
from greennas.pareto import non_domination_rank
from greennas.trainer import Rung, RungReport, TrainingPlan


class RungKeeper:
    """Asynchronous successive halving on non-domination rank, in its stopping variant.

    Networks that have reached a rung are ranked by validation accuracy and by the time that their training took until
    there (all have done the same epochs on the same images, so that their times compare as their energies do). A
    network goes on if its rank begins among the best ``keep`` of those seen at the rung so far: the rank in which that
    share ends goes on as a whole. The first ``grace`` always go on. So nobody waits for the others, and a decision is
    not taken back.

    Source: ASHA (Li et al. 2020) with the ranking of MO-ASHA (Schmucker et al. 2021).

    Args:
        keep: share that goes on, above 0 to 1.
        grace: how many of the first go on in any case.
    """

    def __init__(self, keep: float, grace: int) -> None:
        self._keep = keep
        self._grace = grace
        self._seen: dict[Rung, list[tuple[float, float]]] = {}

    def go_on(self, report: RungReport) -> bool:
        """Take note of a training at a rung and say whether it goes on."""
        losses = self._seen.setdefault(report.rung, [])
        losses.append((-report.accuracy, report.seconds))
        if len(losses) <= self._grace:
            return True
        ranks = non_domination_rank(np.array(losses))
        # No network of a rank is better than another: by accuracy alone, the cheap ones of a front would be stopped.
        return int((ranks < ranks[-1]).sum()) < math.ceil(self._keep * len(losses))


def check_rungs(plan: TrainingPlan, module: nn.Module, dataset: Dataset) -> None:
    """Whether ``module``, one of the networks, can be trained at the plan's rungs.

    Raises:
        ConfigError: a rung whose images are not smaller, too few, or no input of the network.
    """
    channels, *sides = dataset.input_shape
    for rung in plan.separate_rungs:
        side = rung.resolution
        if side is not None and side >= min(sides):
            raise ConfigError(
                f"training.rungs asks for images of {side} pixels, and those of {dataset.name} have {min(sides)}; "
                "take a smaller resolution for the rung, or leave it out."
            )
        images = round(rung.data_share * len(dataset.train))
        if images < plan.batch_size:
            raise ConfigError(
                f"training.rungs asks for {rung.data_share:.3g} of the {len(dataset.train):,} train images, less "
                f"than a batch of {plan.batch_size}; take a larger data_share."
            )
        if side is None:
            continue
        try:
            with torch.no_grad():
                module.eval()(torch.zeros(2, channels, side, side))
        except Exception as error:
            raise ConfigError(
                f"training.rungs asks for images of {side} pixels, which a network of this space cannot take "
                f"({type(error).__name__}: {error}); leave the rung's resolution out."
            ) from error
