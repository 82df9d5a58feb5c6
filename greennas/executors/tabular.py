"""Replays trainings from a table: every task is looked up, and charged what the table says that it cost."""

from __future__ import annotations

import time

import numpy as np

from greennas.energy import Kind, Reading
from greennas.executors.base import Event, Finished
from greennas.measurement import EvaluationTask, Measurement, Probe
from greennas.tabular import Table
from greennas.tabular.table import Row, unit_j

PROBE_NOISE = 0.03
"""Relative standard deviation of a replayed energy probe."""
PROBE_SHARE = 0.01
"""What a replayed energy probe costs, as a share of the training."""
_WORKER = "table"


class TabularExecutor:
    """Answers tasks from a table.

    A missing architecture is a failed training. Repeats are drawn from at random, seeded by the task's id, so
    that a resumed search draws the same. Energies have the kind ``tabular``: joules that were spent once, elsewhere;
    what the replay itself draws on this machine is metered apart.

    Args:
        table: the table.
        workers: tasks in flight, as if trainings ran side by side.
        seed: of the draws.
        speedup: how much faster than it was a training is replayed; None: it is done at once.
    """

    def __init__(self, table: Table, workers: int = 1, seed: int = 0, speedup: float | None = None) -> None:
        self._table = table
        self._workers = workers
        self._seed = seed
        self._speedup = speedup
        self._running: list[tuple[float, Finished]] = []  # when each is done, on the monotonic clock

    @property
    def free(self) -> int:
        """Number of tasks that could be submitted now."""
        return self._workers - len(self._running)

    def submit(self, task_id: str, task: EvaluationTask) -> None:
        """Look ``task`` up."""
        outcome, seconds = self.look_up(task_id, task)
        self._running.append((time.monotonic() + seconds, Finished(task_id, _WORKER, outcome)))

    def look_up(self, task_id: str, task: EvaluationTask) -> tuple[Measurement, float]:
        """The outcome of ``task``, and the seconds that its replay takes."""
        rng = np.random.default_rng([self._seed, *task_id.encode()])
        outcome = self._train(task, rng) if task.work == "train" else self._probe(task, rng)
        seconds = max((reading.seconds for reading in outcome.all_readings), default=0.0)
        return outcome, 0.0 if self._speedup is None else seconds / self._speedup

    def wait(self, timeout_s: float) -> list[Event]:
        """What is done since the last call, after at most ``timeout_s`` seconds."""
        next_s = min((due_s for due_s, _ in self._running), default=0.0)
        time.sleep(max(0.0, min(timeout_s, next_s - time.monotonic())))
        now_s = time.monotonic()
        events: list[Event] = [event for due_s, event in self._running if due_s <= now_s]
        self._running = [(due_s, event) for due_s, event in self._running if due_s > now_s]
        return events

    def answer(self, task_id: str, go_on: bool) -> None:
        """Nothing: a table has no rungs."""

    def close(self) -> list[Finished]:
        """Nothing to stop."""
        return []

    def _train(self, task: EvaluationTask, rng: np.random.Generator) -> Measurement:
        row = self._table.draw(task.params, rng)
        if row is None:
            return Measurement.failed(f"the table {self._table.name} does not have this architecture")
        energy = self._table.energy_j(row)
        metrics: dict[str, float | None] = {**row}
        if energy is not None:
            metrics["train_energy_j"] = energy
        kinds = {name: Kind.TABULAR for name in metrics if unit_j(name) is not None}
        return Measurement("ok", metrics=metrics, kinds=kinds, readings={"train": (self._reading(row, energy),)})

    def _probe(self, task: EvaluationTask, rng: np.random.Generator) -> Measurement:
        probes, spent = [], 0.0
        for params in task.candidates:
            row = self._table.draw(params, rng)
            energy = None if row is None else self._table.energy_j(row)
            noisy = None if energy is None else energy * float(np.exp(PROBE_NOISE * rng.standard_normal()))
            reason = "the table does not have this architecture" if row is None else None
            probes.append(Probe(params, reason, kind=Kind.TABULAR, train_energy_j=noisy))
            spent += PROBE_SHARE * (energy or 0.0)
        reading = self._reading({}, spent)
        return Measurement("ok", readings={"probe": (reading,)}, probes=tuple(probes))

    def _reading(self, row: Row, energy: float | None) -> Reading:
        if energy is None:
            return Reading.unavailable("table", "table", "The table does not say what this training cost.")
        seconds = row.get("train_seconds", 0.0)
        note = "Looked up: these joules were spent where the table was made, not on this machine."
        return Reading(
            "table", "table", Kind.TABULAR, energy, energy, energy, seconds, None, self._table.name, None, (note,)
        )
