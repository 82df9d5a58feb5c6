"""What the energy predictor says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greennas.predictors.gaussian_process import Array
from greennas.predictors.inputs import PredictorError
from greennas.predictors.intervals import NORMAL_HALF_WIDTH


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted energies of m networks.

    Attributes:
        mean_j: predicted joules, (m,); without any measurement (``relative``) a score that only ranks.
        low_j: lower end of the 90% interval, (m,); 0 if ``relative``.
        high_j: upper end of the 90% interval, (m,); infinite if ``relative``.
        outside: the network's costs lie outside of what the predictor has seen, (m,).
        relative: nothing was measured yet: ``mean_j`` counts equivalents of a 3x3-convolution FLOP, not joules.
    """

    mean_j: Array
    low_j: Array
    high_j: Array
    outside: NDArray[np.bool_]
    relative: bool = False

    @property
    def log_std(self) -> Array:
        """Standard deviation of log energy, (m,), of the normal distribution with this interval."""
        with np.errstate(divide="ignore"):
            return np.asarray((np.log(self.high_j) - np.log(self.low_j)) / (2 * NORMAL_HALF_WIDTH))

    def updated(self, probe_j: ArrayLike, sigma: float) -> Prediction:
        """The prediction combined with an independent noisy measurement of each network.

        Product of two normal distributions of log energy.

        Args:
            probe_j: measured energies scaled to the whole training, (m,); NaN where a network was not probed.
            sigma: relative standard deviation of a probe, positive.

        Raises:
            PredictorError: another number of probes, a probe that is not positive, a sigma that is not, or a
                ``relative`` prediction, which has no scale to compare a probe with.
        """
        probe = np.asarray(probe_j, dtype=np.float64)
        if probe.shape != self.mean_j.shape or (probe <= 0).any() or np.isinf(probe).any() or not sigma > 0:
            raise PredictorError(
                f"Give {len(self.mean_j)} positive numbers of joules as probes, NaN where there is none, and sigma > 0."
            )
        if self.relative:
            raise PredictorError("Nothing was measured yet; fit the energy predictor before combining it with probes.")
        known = np.isfinite(probe)
        variance = self.log_std**2
        gain = variance / (variance + sigma**2)
        mean = np.log(self.mean_j) + gain * (np.log(np.where(known, probe, self.mean_j)) - np.log(self.mean_j))
        half = NORMAL_HALF_WIDTH * sigma * np.sqrt(gain)
        return Prediction(
            mean_j=np.where(known, np.exp(mean), self.mean_j),
            low_j=np.where(known, np.exp(mean - half), self.low_j),
            high_j=np.where(known, np.exp(mean + half), self.high_j),
            outside=self.outside & ~known,
        )
