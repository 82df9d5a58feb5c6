"""What ``training.precision: auto`` is, where a search is long enough to measure it first: float32 or bfloat16."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greennas import results as keys
from greennas.carbon import CostEntry, Phase
from greennas.config import SearchConfig
from greennas.executors import Executor, Finished
from greennas.ledger import Ledger, all_costs
from greennas.measurement import Confirmation, Measurement
from greennas.run import RunFolder
from greennas.sampler.candidates import Candidate, ReplayTrial
from greennas.setup import Setup
from greennas.trainer import Precision, TrainingPlan
from greennas.training.runtime import quickest

LEAST_SPEEDUP = 1.1
"""How much quicker bfloat16 has to be: less may be chance, and costs digits."""
SHARE = 0.005
"""Share of a search's shortest duration that measuring may take."""
_PRECISIONS: tuple[Precision, Precision] = ("float32", "bfloat16")
_POOL = 64  # candidates that the measured networks are the quartiles of
_REPEATS = 3
_WINDOW_S = 0.3
_START_S = 12.0
"""What measuring takes beside its steps: a worker that starts, networks that are built, windows that are filled."""
_STEPS = 70
"""Steps of a middle network that it takes at least: 3 networks, in both precisions, with those that warm up."""


@dataclass(frozen=True)
class _Device:
    """Bounds of what a device does in trainings: from within them no search is taken to last longer than it does.

    Attributes:
        slowest: FLOPs a second of networks that it is bad at.
        fastest: the same of those that it is made for.
        step_s: seconds that the smallest network's step takes.
        power_w: most watts of a worker.
    """

    slowest: float
    fastest: float
    step_s: float
    power_w: float


_DEVICES = {"cpu": _Device(1e10, 3e11, 2e-3, 15.0), "cuda": _Device(2e12, 1e14, 1e-3, 700.0)}


@dataclass(frozen=True)
class Comparison:
    """Training steps of some networks in both precisions, in turns.

    Attributes:
        float32_s: seconds a step, by network.
        bfloat16_s: the same in bfloat16.
        reason: why they could not be measured, as where a loss was not finite; None where they were.
    """

    float32_s: tuple[float, ...] = ()
    bfloat16_s: tuple[float, ...] = ()
    reason: str | None = None

    @property
    def speedup(self) -> float:
        """Median over the networks of how many times quicker bfloat16 is; 0 where that is unknown."""
        ratios = [one / other for one, other in zip(self.float32_s, self.bfloat16_s, strict=True)]
        return statistics.median(ratios) if ratios and self.reason is None else 0.0

    @property
    def chosen(self) -> Precision:
        """What the search trains in."""
        return "bfloat16" if self.speedup >= LEAST_SPEEDUP else "float32"

    @property
    def sentence(self) -> str:
        """What was measured and what follows."""
        if self.reason is not None:
            return f"Trainings take float32, since bfloat16 could not be compared with it: {self.reason}"
        one, other = (1000 * statistics.mean(each) for each in (self.float32_s, self.bfloat16_s))
        return (
            f"Trainings take {self.chosen}: a step took {one:.1f} ms in float32 and {other:.1f} ms in bfloat16, in the "
            f"mean of {len(self.float32_s)} networks (median ratio {self.speedup:.2f})."
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return {"chosen": self.chosen, "speedup": self.speedup, **asdict(self)}


def settle_precision(
    setup: Setup,
    run: RunFolder,
    ledger: Ledger,
    executor: Executor,
    data: Path,
    tell: Callable[[str], None],
    stopped: Callable[[], bool],
) -> tuple[Setup, list[CostEntry]]:
    """Measure which precision trains quicker, where nothing was trained yet and the search is long enough for it.

    The decision is in the run's settings from then on, so that whoever goes on with it takes the same; its figures are
    in the study, and what measuring drew is on the bill.

    Args:
        setup: what the search works with.
        run: its folder.
        ledger: its study.
        executor: runs nothing else yet.
        data: folder of the data set's files.
        tell: takes a sentence on what was chosen and why.
        stopped: whether the user wants the search to end; what runs then is left to whoever closes the executor.

    Returns:
        The setup with the precision that was chosen, and what measuring cost; as it was where nothing was measured.
    """
    networks = _networks(setup) if _open(setup, ledger) else []
    event = _measured(setup, networks, executor, data, stopped) if networks else None
    if event is None:
        return setup, []
    found = _comparison(event.measurement)
    costs = all_costs(event.measurement, Phase.PROBE, event.worker)
    ledger.add_driver_costs(costs)
    ledger.study.set_user_attr(keys.PRECISION, found.to_json())
    training = setup.config.training.model_copy(update={"precision": found.chosen})
    setup = replace(setup, config=setup.config.model_copy(update={"training": training}))
    run.keep_config(setup.config)
    tell(found.sentence)
    return setup, costs


def computes_in_bfloat16(device_type: str) -> bool:
    """Whether the processor has instructions for bfloat16. GPUs are not asked: those without lose the comparison."""
    if device_type != "cpu":
        return True
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in early versions of torch
    return any(bool(has) for name, has in capabilities.items() if "bf16" in name)


def earns_measuring(config: SearchConfig, device_type: str, workers: int, steps: int, step_flops: float) -> bool:
    """Whether measuring takes at most ``SHARE`` of a search, however fast the device turns out to be.

    Args:
        config: the search's settings: its trials and budgets.
        device_type: "cpu" or "cuda".
        workers: trainings side by side; all of them wait for the measurement.
        steps: of one whole training.
        step_flops: FLOPs of one step of a middle network.
    """
    device = _DEVICES[device_type]
    budgets_s = [config.time_budget_s or math.inf]
    if config.energy_budget_j is not None:
        budgets_s.append(config.energy_budget_j / (device.power_w * workers))
    # With the steps' length measuring goes on growing, the search only up to its budgets: both ends have to fit.
    ends_s = max(step_flops / device.fastest, device.step_s), step_flops / device.slowest + device.step_s
    return all(
        _START_S + _STEPS * step_s <= SHARE * min(config.trials * steps * step_s / workers, *budgets_s)
        for step_s in ends_s
    )


def _open(setup: Setup, ledger: Ledger) -> bool:
    """Whether the precision may be chosen here and now."""
    trains_here = setup.table is None and setup.cluster is None
    chosen = setup.config.training.precision != "auto" or ledger.trials()
    return trains_here and not chosen and computes_in_bfloat16(setup.device_type)


def _networks(setup: Setup) -> list[Candidate]:
    """Networks at the quartiles of what the space's cost to train; none where the search is too short."""
    config, workers, images = setup.config, len(setup.devices), len(setup.images.train)
    some = setup.plan(setup.space.sample(ReplayTrial(np.random.default_rng(config.seed))))
    if SHARE * config.trials * some.steps(images) / workers < _STEPS:
        return []  # too short whatever its networks are: none is profiled
    pool = setup.candidates().pool(_POOL, 0, config.seed, [], [])
    if not pool:
        return []
    pool.sort(key=lambda candidate: candidate.profile.training_flops)
    chosen = [pool[i] for i in sorted({len(pool) * quartile // 4 for quartile in (1, 2, 3)})]
    middle = chosen[len(chosen) // 2]
    plan = setup.plan(middle.architecture.params)
    step_flops = middle.profile.training_flops * plan.batch_size
    return chosen if earns_measuring(config, setup.device_type, workers, plan.steps(images), step_flops) else []


def _measured(
    setup: Setup, networks: list[Candidate], executor: Executor, data: Path, stopped: Callable[[], bool]
) -> Finished | None:
    """Windows of training steps of all networks, in both precisions, in turns; None where the user stopped it."""
    pairs = [
        (each.architecture.params, replace(_timed(setup, setup.plan(each.architecture.params)), precision=precision))
        for each in networks
        for precision in _PRECISIONS
    ]
    task = setup.task(
        "confirm",
        data,
        candidates=tuple(params for params, _ in pairs),
        plans=tuple(plan for _, plan in pairs),
        repeats=_REPEATS,
        window_s=_WINDOW_S,
    )
    executor.submit("precision", replace(task, exclusive=True))  # nothing else runs yet
    while not stopped():
        for event in executor.wait(1.0):
            assert isinstance(event, Finished)
            return event
    return None


def _timed(setup: Setup, plan: TrainingPlan) -> TrainingPlan:
    """``plan`` in the runtime that whole trainings have: fewer images than theirs are measured."""
    if plan.runtime != "auto":
        return plan
    return replace(plan, runtime=quickest(setup.device_type, plan.steps(len(setup.images.train))))


def _comparison(measurement: Measurement) -> Comparison:
    """The networks' windows, of each network first those in float32."""
    if not measurement.ok:
        return Comparison(reason=measurement.reason)
    seconds = [_step_s(each) for each in measurement.confirmations]
    return Comparison(tuple(seconds[::2]), tuple(seconds[1::2]))


def _step_s(found: Confirmation) -> float:
    return found.window_s / found.steps
