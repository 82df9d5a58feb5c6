"""What an executor has to offer the search loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from greennas.measurement import EvaluationTask, Measurement
from greennas.trainer import RungReport


@dataclass(frozen=True)
class RungReached:
    """A training has reached a rung and waits for ``Executor.answer``."""

    task_id: str
    report: RungReport


@dataclass(frozen=True)
class Finished:
    """A task has ended, well or badly.

    Attributes:
        task_id: which.
        worker: name of the worker that ran it.
        measurement: its outcome; a worker that died leaves a failed one with its reason.
        died: whether the worker died of it, rather than telling of a failure.
    """

    task_id: str
    worker: str
    measurement: Measurement
    died: bool = False


Event = RungReached | Finished


class Executor(Protocol):
    """Runs tasks side by side, each isolated: a crash costs one task."""

    @property
    def free(self) -> int:
        """Number of tasks that could be submitted now."""

    def submit(self, task_id: str, task: EvaluationTask) -> None:
        """Start ``task``; only while ``free`` is above 0."""

    def wait(self, timeout_s: float) -> list[Event]:
        """Events since the last call, after at most ``timeout_s`` seconds; empty if nothing happened.

        Who calls this has submitted all that it wants to be run next.
        """

    def answer(self, task_id: str, go_on: bool) -> None:
        """Tell a training that has reached a rung to go on or to stop there."""

    def close(self) -> list[Finished]:
        """Stop everything that still runs; what it drew until then comes back as failed measurements."""
