"""What a training to the end will cost, from what the run's own trainings were metered at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from greennas.data import Dataset
from greennas.energy import Kind
from greennas.pick import energy_of
from greennas.results import TrialRecord
from greennas.sampler.history import COST
from greennas.trainer import TrainingPlan
from greennas.training.loop import STATISTICS_IMAGES

_FORWARD = 1 / 3
"""A forward pass as a share of a training step on as many images."""


@dataclass(frozen=True)
class Forecast:
    """What training steps and evaluations are expected to cost; the trial's own figures scaled to all images.

    The interval is that of the run's repeated measurement, widened to take in the first one; what another batch size,
    augmentation or a busier machine change is not in it.

    Attributes:
        energy_j: joules of the component that trainings are compared by; None where the run has none.
        low_j: lower end of the interval; None where the run measured the network once.
        high_j: upper end, likewise.
        kind: of the joules.
        seconds: wall-clock time; None where unknown.
    """

    energy_j: float | None
    low_j: float | None
    high_j: float | None
    kind: Kind
    seconds: float | None

    def __add__(self, other: Forecast) -> Forecast:
        """Both; the ends add up, as if all errors had the same sign. Joules of two kinds have no sum."""
        kind = self.kind if self.kind is other.kind else Kind.UNAVAILABLE
        pairs = ((self.energy_j, other.energy_j), (self.low_j, other.low_j), (self.high_j, other.high_j))
        joules = [None if kind is Kind.UNAVAILABLE else _sum(*pair) for pair in pairs]
        return Forecast(joules[0], joules[1], joules[2], kind, _sum(self.seconds, other.seconds))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self) | {"kind": str(self.kind)}


def forecast(
    trial: TrialRecord,
    searched: TrainingPlan,
    plan: TrainingPlan,
    dataset: Dataset,
    teacher: TrialRecord | None = None,
) -> Forecast:
    """The forecast for one network.

    Args:
        trial: its short training.
        searched: how that was done.
        plan: how it is to be trained now; it is evaluated after every epoch.
        dataset: on what.
        teacher: the trial of a teacher, whose forward pass each step has, too.
    """
    images, searched_images = _examples(plan, dataset), _examples(searched, dataset)
    evaluated = len(dataset.validation) + (min(STATISTICS_IMAGES, len(dataset.train)) if plan.ema else 0)
    own = _scaled(trial, (images + _FORWARD * plan.epochs * evaluated) / searched_images)
    return own if teacher is None else own + _scaled(teacher, _FORWARD * images / searched_images)


def _scaled(trial: TrialRecord, factor: float) -> Forecast:
    energy_j, seconds = energy_of(trial), trial.metrics.get("train_seconds")
    again, first_j = trial.confirmed, trial.metrics.get(COST)
    low_j = high_j = None
    if again is not None and again.low_j is not None and again.high_j is not None and first_j is not None:
        low_j, high_j = min(again.low_j, first_j), max(again.high_j, first_j)
    kind = again.kind if again is not None else Kind(trial.kinds.get(COST, Kind.UNAVAILABLE))
    joules = [None if value is None else factor * value for value in (energy_j, low_j, high_j)]
    return Forecast(joules[0], joules[1], joules[2], kind, None if seconds is None else factor * seconds)


def _examples(plan: TrainingPlan, dataset: Dataset) -> float:
    """Images of all training steps."""
    return plan.steps(len(dataset.train)) * min(plan.batch_size, len(dataset.train))


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
