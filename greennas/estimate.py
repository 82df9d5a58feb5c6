"""What a search would cost, from energy probes of a few of its networks; nothing is written."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greennas.config import SearchConfig
from greennas.energy import primary
from greennas.errors import RunError
from greennas.executors import Finished
from greennas.measurement import Measurement
from greennas.predictors import EnergyPredictor
from greennas.prepare import prepare
from greennas.setup import Setup
from greennas.training.rung import epochs_before

_PROBED = 5
_STEPS = 4


@dataclass(frozen=True)
class Forecast:
    """What a search is expected to cost.

    Attributes:
        space: name of the search space.
        size: its number of architectures; None where the space does not say.
        data: name of the data set.
        train: training images.
        validation: validation images.
        test: test images.
        trials: trainings.
        workers: trainings side by side.
        energy_j: low, mean and high joules: all trainings like the cheapest, the mean and the dearest probed network.
        kind: kind of the joules.
        seconds: low, mean and high duration, likewise.
        probed: number of networks probed.
        probe_j: what the probes themselves took, in joules of the same kind.
    """

    space: str
    size: int | None
    data: str
    train: int
    validation: int
    test: int
    trials: int
    workers: int
    energy_j: tuple[float, float, float]
    kind: str
    seconds: tuple[float, float, float]
    probed: int
    probe_j: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)


def estimate(config: SearchConfig) -> Forecast:
    """Probe networks from the cheapest to the dearest of a sample and extrapolate to the whole search.

    Early stopping at rungs is left out, and so are the driver's own work, the start of the workers, the look at the
    test split and the confirmation of the front's energy.

    Raises:
        GreenNASError: as for ``run_search``; also if no network can be probed.
    """
    with contextlib.closing(prepare(config)) as setup, tempfile.TemporaryDirectory(prefix="greennas-") as folder:
        setup.images.save(Path(folder) / "data")
        measurement = _probe(setup, Path(folder))
    probes = [probe for probe in measurement.probes if probe.train_energy_j is not None]
    if not probes:
        reasons = {probe.reason for probe in measurement.probes if probe.reason} or {measurement.reason}
        raise RunError(
            f"No network of the space could be probed ({'; '.join(sorted(reasons))}); mend the space or the data."
        )
    data, workers = setup.images, len(setup.devices)
    plan = setup.plan(probes[0].params)
    whole = 1 + epochs_before(plan.rungs, data.input_shape[2]) / plan.epochs
    joules = [whole * (probe.train_energy_j or 0.0) + (probe.evaluation_energy_j or 0.0) for probe in probes]
    seconds = [whole * (probe.train_seconds or 0.0) for probe in probes]
    # Nobody sizes a search by its luckiest draw: the mean is that of the sample, the ends are its extremes.
    energy = [config.trials * value for value in (min(joules), float(np.mean(joules)), max(joules))]
    rounds = config.trials / workers
    times = [rounds * value for value in (min(seconds), float(np.mean(seconds)), max(seconds))]
    component = primary(measurement.all_readings).component
    spent = [r.energy_j or 0.0 for r in measurement.all_readings if r.component == component]
    return Forecast(
        space=setup.space.name,
        size=setup.space.size,
        data=data.name,
        train=len(data.train),
        validation=len(data.validation),
        test=len(data.test) if data.test is not None else 0,
        trials=config.trials,
        workers=workers,
        energy_j=(energy[0], energy[1], energy[2]),
        kind=str(probes[0].kind),
        seconds=(times[0], times[1], times[2]),
        probed=len(probes),
        probe_j=sum(spent),
    )


def _probe(setup: Setup, folder: Path) -> Measurement:
    pool = setup.candidates().pool(setup.config.screen.pool, 0, setup.config.seed, [], [])
    score = EnergyPredictor(device_type=setup.device_type).predict([candidate.profile for candidate in pool]).mean_j
    chosen = np.argsort(score)[np.linspace(0, len(pool) - 1, min(_PROBED, len(pool))).astype(int)]
    candidates = tuple(pool[i].architecture.params for i in chosen)
    task = setup.task(
        "probe", folder / "data", candidates=candidates, plan=setup.plan(candidates[0]), probe_steps=_STEPS
    )
    executor = setup.executor(folder / "results", folder / "data", workers=1)
    try:
        executor.submit("probe", task)
        while True:
            for event in executor.wait(1.0):
                if isinstance(event, Finished):
                    return event.measurement
    finally:
        executor.close()
