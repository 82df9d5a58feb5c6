"""The final front's training energy, measured again: short windows of training steps, in turns, with intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence

from greennas.energy import Kind, Meter, Reading, primary
from greennas.energy.intervals import mean_interval
from greennas.measurement import Confirmation
from greennas.training.loop import TrainingLoop

CONFIDENCE = 0.95
"""Confidence of the intervals."""
_WARM_UP_STEPS = 3


class StepWindows:
    """Windows of training steps of one network.

    Args:
        loop: its training.
        meter: what to read.
        plan_steps: steps of the whole training, which the joules are scaled to.
    """

    def __init__(self, loop: TrainingLoop, meter: Meter, plan_steps: int) -> None:
        self._loop = loop
        self._meter = meter
        self._plan_steps = plan_steps
        self._steps = 1
        self._readings: list[Reading] = []

    def warm_up(self, window_s: float) -> None:
        """Do some steps and find how many fill a window; never more than the whole training has."""
        self._loop.advance(1)
        self._meter.synchronize()
        started_s = time.perf_counter()
        self._loop.advance(_WARM_UP_STEPS)
        self._meter.synchronize()
        step_s = (time.perf_counter() - started_s) / _WARM_UP_STEPS
        self._steps = max(1, min(round(window_s / step_s), self._plan_steps))

    def measure(self) -> tuple[Reading, ...]:
        """One window; its readings of all components."""
        with self._meter.window() as window:
            self._loop.advance(self._steps)
        self._readings.append(primary(window.readings))
        return window.readings

    def confirmation(self) -> Confirmation:
        """What the windows so far give for the whole training."""
        return confirmation(self._readings, self._steps, self._plan_steps)


def confirmation(readings: Sequence[Reading], steps: int, plan_steps: int) -> Confirmation:
    """The energy of a training from windows of some of its steps.

    Args:
        readings: one for each window, two or more, of one component.
        steps: training steps in each window.
        plan_steps: training steps of the whole training.
    """
    energies_j = [reading.energy_j for reading in readings if reading.energy_j is not None]
    kinds = {reading.kind for reading in readings}
    mean = low = high = None
    if len(energies_j) == len(readings) and len(kinds) == 1:
        mean, low, high = mean_interval([joules / steps * plan_steps for joules in energies_j], CONFIDENCE, 0.0)
        low = max(low, 0.0)
    return Confirmation(
        train_energy_j=mean,
        low_j=low,
        high_j=high,
        confidence=CONFIDENCE,
        component=readings[0].component,
        kind=readings[0].kind if mean is not None else Kind.UNAVAILABLE,
        windows=len(readings),
        steps=steps,
        window_s=sum(reading.seconds for reading in readings) / len(readings),
        shared=any(reading.shared for reading in readings),
    )
