"""Short trainings: data in memory or streamed, a constant learning rate, and an average of the weights that is read.

The learning rate warms up and then stays constant; what is evaluated is an exponential moving average (EMA) of the
weights. So every rung sees what it would have seen as the end of a shorter training, and their accuracies compare.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import nn

from greennas.data import AnySplit, Dataset
from greennas.training.loop import TrainingLoop, accuracy_and_loss, failures, reproducible
from greennas.training.plan import Precision, RungReport, StepsResult, TrainingPlan, TrainingResult
from greennas.training.rung import Rung

__all__ = [
    "PhaseHook",
    "Precision",
    "Rung",
    "RungReport",
    "StepsResult",
    "TrainingPlan",
    "TrainingResult",
    "evaluate_accuracy",
    "train",
    "train_separately",
    "training_steps",
]

PhaseHook = Callable[[str], AbstractContextManager[object]]
"""Opened around each part of the work by its name: "overhead", "train", "evaluate", "probe"."""


def train(
    module: nn.Module,
    dataset: Dataset,
    plan: TrainingPlan,
    *,
    device: torch.device | str = "cpu",
    on_rung: Callable[[RungReport], bool] | None = None,
    phase: PhaseHook = nullcontext,
) -> TrainingResult:
    """Train ``module`` on the train split and evaluate it on the validation split.

    Args:
        module: maps (B, C, H, W) float images to (B, num_classes) logits; is trained in place.
        dataset: only its train and validation splits are used.
        plan: how. Its rungs that are trainings of their own play no part: see ``train_separately``.
        device: where.
        on_rung: gets each rung's report; False stops the training.
        phase: opened around what comes before the steps ("overhead"), around the steps ("train") and around each
            evaluation ("evaluate").

    Raises:
        TrainingError: loss not finite, out of memory, output of a wrong shape, or logits that do not depend on
            the input. Other errors of the module pass through.
    """
    device = torch.device(device)
    with failures(), reproducible(device, plan.seed):
        with phase("overhead"):
            loop = TrainingLoop(module, dataset, plan, device)
        reports: list[RungReport] = []
        for epoch in (*(rung.epochs for rung in plan.looks), plan.epochs):
            with phase("train"):
                loop.advance_to(epoch)
            with phase("evaluate"):
                reports.append(loop.evaluate(epoch))
            if epoch < plan.epochs and on_rung is not None and not on_rung(reports[-1]):
                break
        last = reports[-1]
        stopped = last.epoch < plan.epochs
        return TrainingResult(
            accuracy=last.accuracy,
            loss=last.loss,
            steps=last.steps,
            examples_seen=last.examples_seen,
            seconds=last.seconds,
            rungs=tuple(reports if stopped else reports[:-1]),
            stopped=stopped,
            state_dict={name: value.detach().cpu().clone() for name, value in module.state_dict().items()},
            precision=loop.precision,
            microbatch=loop.microbatch if loop.microbatch < loop.batch_size else None,
            runtime=loop.runtime,
            threads=torch.get_num_threads(),
        )


def train_separately(
    module: nn.Module,
    dataset: Dataset,
    plan: TrainingPlan,
    rung: Rung,
    *,
    device: torch.device | str = "cpu",
    phase: PhaseHook = nullcontext,
) -> RungReport:
    """Train ``module`` at a rung's budget, on smaller images or fewer of them, and evaluate it on such images.

    The module is of no further use: the training that counts begins anew.

    Args:
        module: as for ``train``, fresh; it has to take images of the rung's resolution.
        dataset: as for ``train``.
        plan: as for ``train``; the rung's epochs take the place of its own.
        rung: the budget.
        device: where.
        phase: as for ``train``.

    Raises:
        TrainingError: as for ``train``.
    """
    with phase("overhead"):
        reduced = dataset.reduced(rung.resolution, rung.data_share)
    done = train(module, reduced, replace(plan, epochs=rung.epochs, rungs=()), device=device, phase=phase)
    return RungReport(
        float(rung.epochs),
        done.steps,
        done.examples_seen,
        done.accuracy,
        done.loss,
        done.seconds,
        rung.resolution,
        rung.data_share,
    )


def training_steps(
    module: nn.Module,
    dataset: Dataset,
    plan: TrainingPlan,
    steps: int,
    *,
    device: torch.device | str = "cpu",
    min_seconds: float = 0.0,
    phase: PhaseHook = nullcontext,
) -> StepsResult:
    """Do ``steps`` real training steps after one to warm up that is not measured, to see what a step costs.

    Args:
        module: as for ``train``.
        dataset: as for ``train``.
        plan: as for ``train``; its epochs and rungs play no part.
        steps: measured steps, 1 or more.
        device: where.
        min_seconds: repeat the steps until they took so long (at most 100 times).
        phase: opened around the warm-up ("overhead") and around the measured steps ("probe").

    Raises:
        TrainingError: as for ``train``.
    """
    device = torch.device(device)
    with failures(), reproducible(device, plan.seed):
        with phase("overhead"):
            loop = TrainingLoop(module, dataset, plan, device)
            loop.advance(1)
        before = loop.seconds
        done = 0
        with phase("probe"):
            while not done or (loop.seconds - before < min_seconds and done < 100 * steps):
                loop.advance(steps)
                done += steps
        return StepsResult(done, loop.seconds - before, loop.precision)


def evaluate_accuracy(
    module: nn.Module,
    split: AnySplit,
    dataset: Dataset,
    *,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
    batch_size: int | None = None,
) -> tuple[float, float]:
    """Accuracy (0..1) and mean cross-entropy of ``module`` on ``split``, normalised as ``dataset`` says.

    The module is left in the mode (training or evaluation) that it was in.

    Raises:
        DataError: there are no images.
        TrainingError: out of memory, or the output's shape is not (B, num_classes).
    """
    device = torch.device(device)
    with failures():
        module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return accuracy_and_loss(module, split, dataset, device, precision, batch_size)
