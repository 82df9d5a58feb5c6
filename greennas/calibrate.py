"""Calibration of a device: measure a few well-chosen networks, so that the energy of any other can be predicted."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from greennas.config import SearchConfig, load_config
from greennas.device_profile import QUANTITIES, SECONDS_OF, DeviceProfile, default_path, device_name
from greennas.errors import RunError
from greennas.executors import Executor, Finished
from greennas.measurement import Measurement, Probe
from greennas.predictors import EnergyPredictor
from greennas.predictors.spread import choose_spread
from greennas.prepare import prepare
from greennas.profile import CostProfile
from greennas.sampler.candidates import Candidate
from greennas.setup import Setup

FEWEST = 5
"""Networks without which a calibration says too little."""
_POOL = 150  # candidates of each space and kind of images
_STEPS = 3
_CPU_STEP_FLOPS = 1e10  # about a second on a core: a probe does several such steps
_FOLDS = 10

_MIX: tuple[dict[str, Any], ...] = (
    {"space": "nasbench101", "space_options": {"width": 16, "depth": 2}},
    {"space": "nasbench201", "space_options": {"width": 16, "depth": 2}},
    {"space": "mobilenet", "space_options": {"width": 16}},
    {"space": "resnet", "space_options": {"width": 16}},
)
"""Without a chosen space: the built-in ones, on the digits as they are and at 32 pixels."""


@dataclass(frozen=True)
class Calibration:
    """What was made.

    Attributes:
        profile: the device's profile.
        path: where it was saved.
        errors: quantities to the median relative error on held-out networks.
        coverage: quantities to the share of held-out networks inside of their 90% intervals.
        failed: why networks could not be measured.
        energy_j: joules that the calibration took in its workers, of the profile's kind.
        seconds: how long it took.
    """

    profile: DeviceProfile
    path: Path
    errors: dict[str, float]
    coverage: dict[str, float]
    failed: tuple[str, ...]
    energy_j: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return {
            "device": self.profile.device,
            "path": str(self.path),
            "networks": len(self.profile.networks),
            "kind": str(self.profile.kind),
            "held_out_median_relative_error": self.errors,
            "held_out_coverage_of_90_percent_intervals": self.coverage,
            "failed": list(self.failed),
            "energy_j": self.energy_j,
            "seconds": self.seconds,
        }


def default_configs(device: str | None = None, seed: int = 0) -> list[SearchConfig]:
    """Settings of a calibration that is not for one space."""
    found = []
    for each in _MIX:
        for resolution in (None, 32):
            data = {"name": "digits", "resolution": resolution}
            found.append(load_config(overrides={**each, "data": data, "device": device, "seed": seed, "workers": 1}))
    return found


def calibrate(
    configs: Sequence[SearchConfig] | None = None,
    networks: int = 20,
    out: Path | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> Calibration:
    """Measure networks one after the other on this machine, fit, cross-validate and save the device's profile.

    Args:
        configs: as for a search: spaces, data and training that the networks are of; None for a mix of the built-in
            spaces. All of one device.
        networks: how many to measure, 5 or more.
        out: file of the profile; None for the device's place in the user's folder, where searches look for it.
        on_progress: called with the number measured, their total and what has just been measured.

    Raises:
        GreenNASError: as for ``run_search``; also where too few networks could be measured.
    """
    if networks < FEWEST:
        raise RunError(f"{networks} networks are too few to calibrate a device; take --networks {FEWEST} or more.")
    start = time.monotonic()
    setups = [prepare(config.model_copy(update={"workers": 1})) for config in configs or default_configs()]
    chosen = _choose(setups, networks)
    measured: list[tuple[CostProfile, Probe]] = []
    failed: list[str] = []
    joules = 0.0
    with tempfile.TemporaryDirectory(prefix="greennas-") as folder, ExitStack() as stack:
        executor = setups[0].executor(Path(folder) / "results")
        stack.callback(executor.close)
        for number, (setup, candidate) in enumerate(chosen):
            data = Path(folder) / f"data-{setups.index(setup)}"
            if not data.exists():
                setup.save_data(data)
            found = _measure(executor, f"network-{number}", setup, candidate, data)
            joules += sum(r.energy_j or 0.0 for r in found.all_readings if r.component == _component(setup))
            probe = found.probes[0] if found.probes else Probe({}, reason=found.reason)
            if probe.reason is None and probe.step_energy_j and probe.inference_energy_j_per_1k:
                measured.append((_profile(setup, candidate), probe))
            else:
                failed.append(probe.reason or "its energy cannot be read")
            name = f"{setup.space.name} {candidate.id}"
            on_progress(number + 1, len(chosen), name if probe.reason is None else f"{name} failed: {probe.reason}")
    if len(measured) < FEWEST:
        reasons = "; ".join(sorted(set(failed))) or "the space has too few"
        raise RunError(f"Only {len(measured)} networks could be measured ({reasons}); mend that or take another space.")
    profiles = [cost for cost, _ in measured]
    figures = _figures(measured)
    errors, coverage = {}, {}
    for name, values in figures.items():
        seconds = figures[SECONDS_OF[name]] if name in SECONDS_OF else None
        errors[name], coverage[name] = cross_validate(profiles, values, seconds, setups[0].device_type)
    device = device_name(setups[0].devices[0])
    about = {
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "precision": setups[0].plan(chosen[0][1].architecture.params).precision,
        "spaces": sorted({setup.space.name for setup in setups}),
        "median_relative_error": errors,
        "coverage": coverage,
        "steps": _STEPS,
    }
    profile = DeviceProfile(device, measured[0][1].kind, tuple(profiles), figures, about, setups[0].device_type)
    path = (default_path(device) if out is None else out.expanduser()).with_suffix(".json")
    profile.save(path)
    return Calibration(profile, path, errors, coverage, tuple(failed), joules, time.monotonic() - start)


def cross_validate(
    profiles: Sequence[CostProfile],
    values: NDArray[np.float64],
    seconds: NDArray[np.float64] | None = None,
    device_type: str = "cuda",
) -> tuple[float, float]:
    """Median relative error and coverage of the 90% intervals, each network predicted from other folds.

    Args:
        profiles: cost profiles of n networks.
        values: measured energies or times, (n,), positive.
        seconds: of energies, the times of the same measurements, (n,), positive, if known.
        device_type: ``cuda`` or ``cpu``.
    """
    label = np.random.default_rng(0).permutation(len(profiles)) % min(_FOLDS, len(profiles))
    errors, inside = np.zeros(len(profiles)), np.zeros(len(profiles), dtype=bool)
    for fold in range(label.max() + 1):
        kept, out = np.flatnonzero(label != fold).tolist(), np.flatnonzero(label == fold).tolist()
        times = None if seconds is None else seconds[kept]
        predictor = EnergyPredictor(device_type=device_type)
        predictor.fit([profiles[i] for i in kept], values[kept], seconds=times)
        found = predictor.predict([profiles[i] for i in out])
        errors[out] = np.abs(found.mean_j / values[out] - 1)
        inside[out] = (found.low_j <= values[out]) & (values[out] <= found.high_j)
    return float(np.median(errors)), float(inside.mean())


def _choose(setups: Sequence[Setup], count: int) -> list[tuple[Setup, Candidate]]:
    """Networks of all setups, spread over what they cost, the cheapest first."""
    pool: list[tuple[Setup, Candidate]] = []
    for setup in setups:
        for candidate in setup.candidates().pool(_POOL, 0, setup.config.seed, [], []):
            pool.append((setup, candidate))
    if setups[0].devices[0] == "cpu":
        small = [(s, c) for s, c in pool if c.profile.batch_size * c.profile.training_flops <= _CPU_STEP_FLOPS]
        pool = small if len(small) >= count else sorted(pool, key=lambda each: each[1].profile.total_flops)[:count]
    chosen = choose_spread([candidate.profile for _, candidate in pool], count, setups[0].config.seed)
    return sorted((pool[i] for i in chosen), key=lambda each: each[1].profile.total_flops)


def _measure(executor: Executor, name: str, setup: Setup, candidate: Candidate, data: Path) -> Measurement:
    params = candidate.architecture.params
    task = setup.task(
        "probe", data, candidates=(params,), plan=setup.plan(params), probe_steps=_STEPS, probe_inference=True
    )
    executor.submit(name, task)
    while True:
        for event in executor.wait(1.0):
            if isinstance(event, Finished):
                return event.measurement


def _profile(setup: Setup, candidate: Candidate) -> CostProfile:
    """The candidate's profile at the batch size that it was probed with."""
    params = candidate.architecture.params
    return setup.space.profile(params, setup.input_shape, setup.num_classes, setup.plan(params).batch_size)


def _figures(measured: Sequence[tuple[CostProfile, Probe]]) -> dict[str, NDArray[np.float64]]:
    """``QUANTITIES`` of the probes; training is per image."""
    rows = [
        (
            (probe.step_energy_j or 0.0) / cost.batch_size,
            (probe.step_seconds or 0.0) / cost.batch_size,
            probe.inference_energy_j_per_1k or 0.0,
            probe.inference_seconds_per_1k or 0.0,
        )
        for cost, probe in measured
    ]
    return dict(zip(QUANTITIES, np.array(rows, dtype=np.float64).T, strict=True))


def _component(setup: Setup) -> str:
    return "cpu" if setup.devices[0] == "cpu" else "gpu"
