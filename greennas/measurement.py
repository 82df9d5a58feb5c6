"""What an executor is asked to do, and what comes back; both travel as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from greennas.architecture import Params
from greennas.energy import Kind, Reading
from greennas.errors import ConfigError
from greennas.trainer import RungReport, TrainingPlan

Work = Literal["train", "probe", "test", "confirm"]
METRICS = (
    "accuracy",
    "loss",
    "train_energy_j",
    "train_seconds",
    "inference_energy_j_per_1k",
    "latency_ms",
    "flops",
    "parameters",
)
"""Keys of ``Measurement.metrics``."""
RUNG = "rung"
"""Key of ``Measurement.readings``: steps of trainings of their own at rungs with smaller images or fewer of them."""
LOST = "lost"
"""Key of ``Measurement.readings``: what attempts drew whose worker or node was lost."""


@dataclass(frozen=True)
class EvaluationTask:
    """One piece of work for a worker.

    Attributes:
        work: ``train`` a network and measure it; ``probe`` what a training step of each candidate costs; ``test`` a
            checkpoint on the test split; ``confirm`` what trainings of the candidates cost, in windows taken in turns.
        space: name or path of the search space, as for ``load_space``.
        data: folder written by ``Dataset.save``.
        space_file: where the file of ``space`` lies on the worker's machine; None: where ``space`` says.
        options: options of the space.
        params: the network, for ``train`` and ``test``.
        candidates: the networks, for ``probe`` and ``confirm``.
        plan: of the training; for ``probe`` the one that the estimate is for.
        device: as torch names it.
        exclusive: whether nothing else is trained on this machine at the same time, as for ``open_meter``.
        watts_per_core: low, mid and high, for modelled energy, as for ``open_meter``.
        checkpoint: safetensors file that ``train`` writes and ``test`` reads; None: none is written.
        probe_steps: measured steps a candidate; more are done where the energy counter is slow.
        inference: whether ``train`` also measures inference energy and latency.
        probe_inference: whether ``probe`` also measures inference, and steps for as long as the meter needs.
        plans: the trainings of the candidates, for ``confirm``; one each.
        repeats: windows of each candidate, for ``confirm``.
        seconds: longest duration; None: as the executor says.
        window_s: seconds that a window of ``confirm`` may take; shorter ones are taken where the energy is modelled.
    """

    work: Work
    space: str
    data: str
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Params = field(default_factory=dict)
    candidates: tuple[Params, ...] = ()
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    device: str = "cpu"
    exclusive: bool = True
    watts_per_core: tuple[float, float, float] | None = None
    checkpoint: str | None = None
    probe_steps: int = 2
    inference: bool = True
    probe_inference: bool = False
    plans: tuple[TrainingPlan, ...] = ()
    repeats: int = 2
    window_s: float = 2.0
    space_file: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.work not in ("train", "probe", "test", "confirm"):
            raise ConfigError(f"There is no work {self.work!r}; choose train, probe, test or confirm.")
        if self.work == "confirm" and (len(self.plans) != len(self.candidates) or self.repeats < 2):
            raise ConfigError("To confirm energies takes a plan for each candidate and two repeats or more.")
        if self.work == "test" and self.checkpoint is None:
            raise ConfigError("A test needs the checkpoint of a trained network; give its path.")
        if self.probe_steps < 1:
            raise ConfigError(f"A probe of {self.probe_steps} steps measures nothing; take 1 or more.")

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {
            "options": dict(self.options),
            "params": dict(self.params),
            "candidates": [dict(params) for params in self.candidates],
            "plan": self.plan.to_json(),
            "plans": [plan.to_json() for plan in self.plans],
            "watts_per_core": list(self.watts_per_core) if self.watts_per_core else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EvaluationTask:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: a missing, unknown or malformed field.
        """
        try:
            watts = data["watts_per_core"]
            return cls(
                **{
                    **data,
                    "candidates": tuple(data["candidates"]),
                    "plan": TrainingPlan.from_json(data["plan"]),
                    "plans": tuple(TrainingPlan.from_json(plan) for plan in data["plans"]),
                    "watts_per_core": tuple(watts) if watts else None,
                }
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(f"Not an evaluation task: {error!r}; give JSON as written by to_json.") from error


@dataclass(frozen=True)
class Probe:
    """What a training of one candidate would cost, from a few measured steps.

    Attributes:
        params: the candidate.
        reason: why it cannot be trained; None where it can.
        steps: measured steps.
        step_energy_j: joules a training step, of the component that trainings are compared by; None if unavailable.
        step_seconds: wall-clock seconds a training step.
        kind: of the joules.
        train_energy_j: estimate for all steps of the plan: what ``train_energy_j`` of a training will be.
        train_seconds: the same for the wall-clock time.
        evaluation_energy_j: estimate for the evaluations at the rungs and at the end; a forward pass is taken as a
            third of a step an image.
        inference_energy_j_per_1k: joules of 1,000 images in evaluation batches; None unless it was asked for.
        inference_seconds_per_1k: the same for the wall-clock time.
    """

    params: Params
    reason: str | None = None
    steps: int = 0
    step_energy_j: float | None = None
    step_seconds: float | None = None
    kind: Kind = Kind.UNAVAILABLE
    train_energy_j: float | None = None
    train_seconds: float | None = None
    evaluation_energy_j: float | None = None
    inference_energy_j_per_1k: float | None = None
    inference_seconds_per_1k: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return asdict(self) | {"params": dict(self.params), "kind": str(self.kind)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Probe:
        """Read what ``to_json`` wrote."""
        return cls(**{**data, "kind": Kind(data["kind"])})


@dataclass(frozen=True)
class Confirmation:
    """The training energy of one network, measured again in windows of some training steps.

    The windows are taken in turns with those of the networks that it is compared with, and scaled to all steps of the
    plan. The interval is how well that repeats (Student's t over the windows); what the counter or the model leaves
    open, the same for all of them, is not in it.

    Attributes:
        train_energy_j: mean joules of all training steps; None if unavailable.
        low_j: lower end of its confidence interval, likewise.
        high_j: upper end of its confidence interval, likewise.
        confidence: of the interval.
        component: "gpu" or "cpu".
        kind: of the joules.
        windows: number of windows.
        steps: training steps in each of them.
        window_s: their mean length in seconds.
        shared: whether something else was seen to run on the device.
    """

    train_energy_j: float | None
    low_j: float | None
    high_j: float | None
    confidence: float
    component: str
    kind: Kind
    windows: int
    steps: int
    window_s: float
    shared: bool = False

    @property
    def interval_j(self) -> tuple[float, float] | None:
        """The interval's ends in joules; None if unavailable."""
        return None if self.low_j is None or self.high_j is None else (self.low_j, self.high_j)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return asdict(self) | {"kind": str(self.kind)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Confirmation:
        """Read what ``to_json`` wrote."""
        return cls(**{**data, "kind": Kind(data["kind"])})


@dataclass(frozen=True)
class Measurement:
    """The outcome of a task.

    Attributes:
        status: whether it was done.
        reason: why it failed; empty where it did not.
        metrics: ``METRICS`` to values, None where unknown. accuracy (0..1) and loss are of the validation split, after
            a ``test`` of the test split. train_energy_j is the joules of the training steps alone, up to where they
            stopped; inference_energy_j_per_1k the joules of 1,000 images in evaluation batches; latency_ms the median
            of forward passes of one image; flops those of one image forward, 2 a multiply-add.
        kinds: energy metrics to the kind of their joules.
        readings: all energy that the task drew, by what for: "train", "evaluate", "inference", "probe", "confirm", and
            "overhead" (loading, building, warm-up, latency), "rung" (trainings of their own at rungs), "lost" (attempts
            whose worker was lost). A training with rungs has several windows of a phase.
        steps: training steps done.
        examples_seen: images trained on, repetitions counted.
        stopped_rung: epochs at which the training was stopped, at the last of ``rungs``; None where it was not.
        rungs: reports of the rungs.
        probes: one a candidate, in their order.
        confirmations: one a candidate, in their order.
        environment: device, threads, precision and versions that the figures belong to.
        notes: what a reader of the figures must know.
    """

    status: Literal["ok", "failed"]
    reason: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(METRICS))
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    readings: Mapping[str, tuple[Reading, ...]] = field(default_factory=dict)
    steps: int = 0
    examples_seen: int = 0
    stopped_rung: float | None = None
    rungs: tuple[RungReport, ...] = ()
    probes: tuple[Probe, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def failed(
        cls,
        reason: str,
        readings: Mapping[str, tuple[Reading, ...]] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Measurement:
        """A task that was not done; ``readings`` are what it drew until then."""
        return cls("failed", reason, readings=dict(readings or {}), environment=dict(environment or {}))

    @property
    def ok(self) -> bool:
        """Whether the task was done."""
        return self.status == "ok"

    @property
    def all_readings(self) -> tuple[Reading, ...]:
        """The readings of all phases, for ``greennas.energy.subtotals``."""
        return tuple(reading for readings in self.readings.values() for reading in readings)

    @property
    def seconds(self) -> float:
        """Wall-clock time of all that was metered."""
        spans: dict[tuple[str, str | None], float] = {}
        for reading in self.all_readings:  # every component is metered over the same windows
            spans[reading.component, reading.uuid] = spans.get((reading.component, reading.uuid), 0.0) + reading.seconds
        return max(spans.values(), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {
            "metrics": dict(self.metrics),
            "kinds": {name: str(kind) for name, kind in self.kinds.items()},
            "readings": {phase: [each.to_json() for each in readings] for phase, readings in self.readings.items()},
            "rungs": [asdict(rung) for rung in self.rungs],
            "probes": [probe.to_json() for probe in self.probes],
            "confirmations": [each.to_json() for each in self.confirmations],
            "environment": dict(self.environment),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: a missing, unknown or malformed field.
        """
        try:
            return cls(
                **{
                    **data,
                    "kinds": {name: Kind(kind) for name, kind in data["kinds"].items()},
                    "readings": {
                        phase: tuple(Reading.from_json(each) for each in readings)
                        for phase, readings in data["readings"].items()
                    },
                    "rungs": tuple(RungReport(**rung) for rung in data["rungs"]),
                    "probes": tuple(Probe.from_json(probe) for probe in data["probes"]),
                    "confirmations": tuple(Confirmation.from_json(each) for each in data["confirmations"]),
                    "notes": tuple(data["notes"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"Not a measurement: {error!r}; give JSON as written by to_json.") from error
