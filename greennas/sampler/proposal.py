"""What passes between the strategy and who asks it: probes, shortlists, proposals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greennas.predictors.intervals import NORMAL_HALF_WIDTH
from greennas.sampler.candidates import Candidate
from greennas.sampler.losses import Scale

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """What an energy probe of a candidate found.

    Attributes:
        train_energy_j: joules of the whole training, extrapolated from the measured steps; None if unknown.
        failure: why the candidate cannot be trained; None if it can.
    """

    train_energy_j: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Screened:
    """A candidate that was on the shortlist and was not chosen.

    Attributes:
        candidate: the candidate.
        predicted: for each metric its mean and 90% interval as ``{"mean", "low", "high"}``.
        reason: why it was left out.
    """

    candidate: Candidate
    predicted: Mapping[str, Mapping[str, float]]
    reason: str


@dataclass(frozen=True)
class Proposal:
    """The candidate to train next, and what it was chosen from."""

    candidate: Candidate
    predicted: Mapping[str, Mapping[str, float]]
    reason: str
    screened: tuple[Screened, ...] = ()
    pool: int = 0


@dataclass
class Shortlist:
    """The most promising candidates with their predicted losses; ``design`` names a step of the initial design."""

    candidates: list[Candidate]
    mean: Array
    deviation: Array
    front: Array
    reference: Array
    pool: int
    scales: tuple[Scale, ...] = ()
    """How each column of ``mean`` is seen: the objectives, then the training energy."""
    design: str | None = None
    uncertain: tuple[int, ...] = ()
    """Indices of the candidates whose energy a probe would tell better than the prediction does."""
    chance: Array | None = None
    """Probability that a candidate keeps the limits on metrics that are neither objectives nor the energy."""

    def predicted(self, i: int) -> dict[str, dict[str, float]]:
        """Mean and 90% interval of what the i-th candidate is predicted to reach, by metric."""
        found = {}
        for scale, mean, deviation in zip(self.scales, self.mean[i], self.deviation[i], strict=False):
            half = NORMAL_HALF_WIDTH * deviation
            low, high = sorted([scale.value(mean - half), scale.value(mean + half)])
            found[scale.metric] = {"mean": scale.value(mean), "low": low, "high": high}
        return found
