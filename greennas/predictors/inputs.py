"""Checks of what the predictors are given."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from greennas.errors import GreenNASError
from greennas.predictors.gaussian_process import Array


class PredictorError(GreenNASError):
    """A predictor was given numbers that it cannot learn from."""


def vector(values: ArrayLike, length: int, what: str, *, positive: bool = False) -> Array:
    """``values`` as a finite float64 vector (length,).

    Raises:
        PredictorError: another length, a value that is missing, no number, infinite or (``positive``) not above 0.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictorError(f"Some {what} are not numbers; give one number for each network.") from error
    if array.shape != (length,):
        raise PredictorError(
            f"There are {length} networks but {what} of shape {array.shape}; give one number for each."
        )
    if not np.isfinite(array).all():
        raise PredictorError(f"Some {what} are missing or infinite; leave out networks without a measurement.")
    if positive and (array <= 0).any():
        raise PredictorError(f"Some {what} are zero or negative, which is no measurement; leave those networks out.")
    return array
