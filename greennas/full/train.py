"""A training to the end: every epoch metered, evaluated and kept, so that a kill loses one epoch at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from greennas import price_tag
from greennas.carbon import CostEntry, Phase, SearchCost
from greennas.energy import Kind, Meter, Reading, describe_devices, format_energy, open_meter, primary, total
from greennas.errors import RunError
from greennas.export.bill import read_training_bill, write_bill
from greennas.export.description import EnergyFigure, ModelDescription
from greennas.export.pretrained import from_pretrained, save_pretrained
from greennas.export.source import data_settings, energies_of, metrics_of
from greennas.files import held
from greennas.full.forecast import Forecast
from greennas.full.job import Job
from greennas.full.state import STATE, Progress, read_state, write_state
from greennas.run import device_names
from greennas.trainer import RungReport, evaluate_accuracy
from greennas.training.loop import TrainingLoop, failures, reproducible

_PHASES = {"train": Phase.TRAINING, "evaluate": Phase.EVALUATION, "test": Phase.TEST}
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A network that was trained to the end.

    Attributes:
        path: its model folder.
        description: what it is, expects and reached.
        epochs: that it was trained.
        best: the epoch that was kept.
        stopped: why it ended before its last epoch; empty where it did not.
        bill: what this training took, the teacher's with it.
        forecast: what its steps and evaluations had been expected to cost.
        metered_j: what they were metered at, in joules; None where unknown.
    """

    path: Path
    description: ModelDescription
    epochs: int
    best: RungReport
    stopped: str
    bill: SearchCost
    forecast: Forecast
    metered_j: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return {
            "path": str(self.path),
            "architecture_id": self.description.architecture.id,
            "accuracy": dict(self.description.accuracy),
            "epochs": self.epochs,
            "best_epoch": self.best.epoch,
            "stopped": self.stopped,
            "energy": {name: figure.to_json() for name, figure in self.description.energy.items()},
            "forecast": self.forecast.to_json(),
            "metered_j": self.metered_j,
            "cost": self.bill.to_json(),
        }


def train_to_the_end(
    job: Job,
    *,
    energy_budget_j: float | None = None,
    time_budget_s: float | None = None,
    tell: Tell = lambda _: None,
) -> Trained:
    """Train the network of ``job``, keep the epoch with the best validation accuracy, test that one once.

    A training that was interrupted goes on after its last whole epoch, with the same result as one that was not.

    Args:
        job: as ``prepare_training`` made it.
        energy_budget_j: end after the epoch in which the component that trainings are compared by has drawn so much,
            with what the training of a teacher drew.
        time_budget_s: end after the epoch in which the training steps have taken so long.
        tell: takes a sentence on each epoch.

    Raises:
        RunError: the forecast is above the budget, the training was begun otherwise, or another process is at it.
        TrainingError: the loss is not finite, or memory is short.
    """
    cost = job.whole_forecast
    least_j = cost.energy_j if cost.low_j is None else cost.low_j
    if least_j is not None and job.teacher is not None:
        least_j += _joules(_teacher_entries(job.teacher))  # none where it is in the forecast
    if energy_budget_j is not None and least_j is not None and least_j > energy_budget_j:
        raise RunError(
            f"The training will take {format_energy(least_j)} {cost.kind} or more, and the budget is "
            f"{format_energy(energy_budget_j)}; give more, or fewer --epochs."
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    job.out.mkdir(parents=True, exist_ok=True)
    try:
        with held(job.out / ".lock", f"Another process trains in {job.out}; wait for it or stop it first."):
            teacher = _teacher(job, tell)
            return _Training(job, teacher, tell).run(energy_budget_j, time_budget_s)
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, eq=False)
class _Teacher:
    network: nn.Module
    architecture_id: str
    entries: tuple[CostEntry, ...]


def _teacher(job: Job, tell: Tell) -> _Teacher | None:
    """The teacher, trained now or before; its joules are on the bill either way."""
    if job.teacher is None:
        return None
    identity = job.teacher.architecture_id
    if job.teacher.done:
        tell(f"The teacher {identity} is trained already, in {job.teacher.out}; its joules are on the bill.")
    else:
        tell(f"The teacher {identity} is trained first, in {job.teacher.out}.")
        train_to_the_end(job.teacher, tell=tell)
    return _Teacher(from_pretrained(job.teacher.out), identity, _teacher_entries(job.teacher))


def _teacher_entries(teacher: Job) -> tuple[CostEntry, ...]:
    """What the training of a teacher took; nothing where it was not trained yet."""
    bill = read_training_bill(teacher.out) if teacher.done else None
    return tuple(replace(entry, phase=Phase.TEACHER) for entry in bill.entries) if bill is not None else ()


def _joules(entries: Sequence[CostEntry]) -> float:
    """Joules of the component that trainings are compared by; 0 where they are unknown."""
    return (total([entry.reading for entry in entries])[0] or 0.0) if entries else 0.0


class _Training:
    def __init__(self, job: Job, teacher: _Teacher | None, tell: Tell) -> None:
        self._job = job
        self._teacher = teacher
        self._tell = tell
        self._device = torch.device(job.device)
        assert job.trial.architecture is not None
        self._architecture = job.trial.architecture
        self._hardware = price_tag.hardware(describe_devices(), self._device.type == "cuda")
        self._settings: dict[str, Any] = {
            "architecture": self._architecture.to_json(),
            "plan": job.plan.to_json(),
            "teacher": teacher.architecture_id if teacher else None,
            "data": {"name": job.dataset.name, "images": len(job.dataset.train), "shape": job.dataset.input_shape},
            "hardware": device_names(describe_devices()),
            "threads": job.threads,
        }
        self._progress = Progress()
        self._stopped = ""

    def run(self, energy_budget_j: float | None, time_budget_s: float | None) -> Trained:
        job, plan = self._job, self._job.plan
        found = read_state(job.out, self._settings)
        with self._metering(), failures(), reproducible(self._device, plan.seed):
            with self._phase("overhead"):
                module = self._build()
                teacher = self._teacher.network if self._teacher else None
                loop = TrainingLoop(module, job.dataset, plan, self._device, teacher)
                if found is not None:
                    state, self._progress = found
                    loop.restore(state)
                    self._tell(f"The training in {job.out} goes on after epoch {len(self._progress.history)}.")
            epochs = round(plan.epochs)
            for epoch in range(len(self._progress.history) + 1, epochs + 1):
                if self._out_of_budget(energy_budget_j, time_budget_s):
                    break
                with self._phase("train"):
                    loop.advance_to(epoch)
                with self._phase("evaluate"):
                    report = loop.evaluate(epoch)
                self._progress.add(report, module.state_dict())
                with self._phase("overhead"):
                    write_state(job.out, self._settings, loop.state(), self._progress)
                self._tell(f"Epoch {epoch} of {epochs}: validation accuracy {report.accuracy:.4f}{self._spent()}.")
            module.load_state_dict(self._progress.best_weights)
            with self._phase("test"):
                test = self._job.setup.images.test
                assert test is not None
                tested, _ = evaluate_accuracy(module, test, job.dataset, device=self._device, precision=loop.precision)
        return self._finish(module.cpu(), tested, loop.precision)

    def _build(self) -> nn.Module:
        """The network with weights that depend on the seed alone."""
        setup = self._job.setup
        with torch.random.fork_rng([]):
            torch.manual_seed(self._job.plan.seed)
            return setup.space.build(self._architecture.params, setup.input_shape, setup.num_classes)

    @contextmanager
    def _metering(self) -> Iterator[None]:
        watts = self._job.setup.config.energy.watts_per_core
        self._meter: Meter = open_meter(self._job.device, exclusive=True, watts_per_core=watts)
        try:
            yield
        finally:
            self._meter.close()

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        with self._meter.window() as window:
            yield
        readings = self._progress.readings
        readings[name] = (*readings.get(name, ()), *window.readings)

    def _metered_j(self) -> tuple[float | None, Kind]:
        readings = self._progress.all_readings
        return total(readings) if readings else (None, Kind.UNAVAILABLE)

    def _spent(self) -> str:
        joules, kind = self._metered_j()
        return "" if joules is None else f", {format_energy(joules)} {kind} so far"

    def _out_of_budget(self, energy_budget_j: float | None, time_budget_s: float | None) -> bool:
        joules, _ = self._metered_j()
        if joules is not None and self._teacher is not None:
            joules += _joules(self._teacher.entries)
        history = self._progress.history
        if history and energy_budget_j is not None and joules is not None and joules >= energy_budget_j:
            budget = format_energy(energy_budget_j)
            self._stopped = f"the energy budget of {budget} was spent after epoch {len(history)}"
        elif history and time_budget_s is not None and history[-1].seconds >= time_budget_s:
            self._stopped = f"the time budget of {time_budget_s:.4g} s was spent after epoch {len(history)}"
        return bool(self._stopped)

    def _finish(self, module: nn.Module, tested: float, precision: str) -> Trained:
        job, progress = self._job, self._progress
        assert progress.best is not None
        bill = self._bill()
        steps = [entry.reading for entry in bill.entries if entry.phase is Phase.TRAINING]
        notes = [*job.dataset.notes, *([self._stopped] if self._stopped else [])]
        if self._teacher is not None:
            notes.append(f"distilled from {self._teacher.architecture_id}, which was trained in the same way")
        description = ModelDescription(
            self._architecture,
            job.dataset.input_shape,
            job.dataset.class_names,
            job.dataset.mean,
            job.dataset.std,
            job.dataset.name,
            data_settings(job.setup.config),
            {"validation": progress.best.accuracy, "test": tested},
            {**energies_of(job.trial), "train_energy_j": _figure(steps)},
            metrics_of(job.trial),
            job.plan.to_json(),
            precision,
            tuple(notes),
        )
        history = [
            {"epoch": report.epoch, "accuracy": report.accuracy, "loss": report.loss} for report in progress.history
        ]
        facts = {
            "run": str(job.run.path),
            "settings": self._settings,
            "best_epoch": progress.best.epoch,
            "stopped": self._stopped,
            "history": history,
            "forecast": job.forecast.to_json(),
            "data_dir": None if job.setup.config.data.dir is None else str(job.setup.config.data.dir),
        }
        write_bill(job.out, bill, job.result.cost, self._hardware, facts)
        save_pretrained(module, job.out, description)
        (job.out / STATE).unlink(missing_ok=True)
        forecast = [reading for phase in ("train", "evaluate") for reading in progress.readings[phase]]
        return Trained(
            job.out,
            description,
            len(progress.history),
            progress.best,
            self._stopped,
            bill,
            job.forecast,
            total(forecast)[0],
        )

    def _bill(self) -> SearchCost:
        entries = [
            CostEntry(_PHASES.get(phase, Phase.OVERHEAD), "training", reading)
            for phase, readings in self._progress.readings.items()
            for reading in readings
        ]
        flops = self._job.trial.metrics.get("flops")
        return replace(
            self._job.result.cost,
            entries=[*entries, *(self._teacher.entries if self._teacher else ())],
            trials=1,
            examples_seen=self._progress.history[-1].examples_seen,
            flops_per_example=None if flops is None else 3 * flops,
            saved=None,
            metered=(),
        )


def _figure(readings: Sequence[Reading]) -> EnergyFigure:
    """The readings of the component that trainings are compared by, as one figure."""
    joules, kind = total(readings)
    if joules is None:
        return EnergyFigure(None, kind)
    component = primary(readings).component
    parts = [reading for reading in readings if reading.component == component]
    return EnergyFigure(
        joules, kind, sum(part.low_j or 0.0 for part in parts), sum(part.high_j or 0.0 for part in parts)
    )
