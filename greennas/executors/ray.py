"""Trainings placed, run and retried by Ray Tune, on one machine or on a cluster.

Ray Tune's own loop runs in a thread. It asks for tasks as it would ask a search algorithm for configurations, and tells
of results; the search loop sees an executor like any other.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import greennas.files
from greennas.cluster import desk, node
from greennas.cluster.connection import Cluster
from greennas.energy import Reading
from greennas.errors import RunError
from greennas.executors.base import Event, Finished, RungReached
from greennas.executors.local import result_path
from greennas.files import write_text
from greennas.measurement import LOST, EvaluationTask, Measurement
from greennas.trainer import Rung, RungReport

_RETRIES = 1
_STARTS = 5
"""Attempts of a task that may be lost before it has begun."""
_OPTIONS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # the study is what resumes
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e9",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Ray Tune's settings that have no argument."""


@dataclass
class _Running:
    task_id: str
    replay: tuple[Measurement, float] | None
    task: EvaluationTask
    node_id: str | None = None
    worker: str = "ray"
    starts: int = 0
    drawn: tuple[Reading, ...] = ()
    lost: tuple[Reading, ...] = ()

    def lose(self) -> None:
        """The attempt that runs has come to nothing."""
        self.lost, self.drawn = self.lost + self.drawn, ()

    def failed(self, reason: str) -> Measurement:
        """The outcome, with what all attempts drew."""
        self.lose()
        return Measurement.failed(reason, {LOST: self.lost} if self.lost else {})


class RayExecutor:
    """Runs tasks on a Ray cluster.

    Args:
        cluster: where.
        directory: where results are left; it is on the driver's machine.
        plant: what the trainings have in common; ``results``, ``desk``, ``files`` and ``tests`` are filled in here.
        workers: tasks side by side; None for as many as the cluster has room for, as nodes come and go.
        data: files of the images, and of the images that only a test may see.
        replay: in place of trainings, their outcome and the seconds to wait for it.
    """

    def __init__(
        self,
        cluster: Cluster,
        directory: Path,
        plant: node.Plant,
        *,
        workers: int | None = None,
        data: tuple[Path, Path] | None = None,
        replay: Callable[[str, EvaluationTask], tuple[Measurement, float]] | None = None,
    ) -> None:
        for module in (greennas.files, desk, node):  # so that a worker that trains nothing does not load the engine
            cloudpickle.register_pickle_by_value(module)
        directory.mkdir(parents=True, exist_ok=True)
        self._cluster = cluster
        self._directory = directory.absolute()
        self._workers = workers
        self._replay = replay
        home = ray.get_runtime_context().get_node_id()
        self._plant = replace(
            plant,
            results=str(self._directory),
            desk=ray.remote(desk.Desk)
            .options(
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=-1,
                scheduling_strategy=NodeAffinitySchedulingStrategy(home, soft=False),
            )
            .remote(),
            files=_shipped([*([Path(plant.space)] if plant.space else []), *(data[:1] if data else [])]),
            tests=_shipped([path for path in (data or ())[1:] if path.is_file()]),
        )
        self._changed = threading.Condition()
        self._queue: deque[_Running] = deque()
        self._running: dict[str, _Running] = {}  # by the ids of Ray Tune's trials
        self._rungs: dict[str, Rung] = {}  # of the trainings that wait for an answer
        self._events: deque[Event] = deque()
        self._idle = False  # whether the driver waits for events, having submitted what it wants
        self._closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ray-tune", daemon=True)
        self._thread.start()

    @property
    def free(self) -> int:
        """Number of tasks that could be submitted now."""
        with self._changed:
            return (self._workers or self._cluster.slots) - len(self._queue) - len(self._running)

    def submit(self, task_id: str, task: EvaluationTask) -> None:
        """Hand ``task`` to Ray Tune."""
        result_path(self._directory, task_id).unlink(missing_ok=True)
        replayed = None if self._replay is None else self._replay(task_id, task)
        with self._changed:
            self._queue.append(_Running(task_id, replayed, task))
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> list[Event]:
        """Events since the last call, after at most ``timeout_s`` seconds.

        Raises:
            RunError: Ray has stopped.
        """
        with self._changed:
            self._idle = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._events or self._failure is not None, timeout_s)
            if self._failure is not None:
                raise RunError(
                    f"Ray has stopped ({_telling_line(self._failure)}); see its logs, and go on with --resume."
                ) from self._failure
            self._idle = not self._events
            events = list(self._events)
            self._events.clear()
        return events

    def answer(self, task_id: str, go_on: bool) -> None:
        """Tell a training that has reached a rung to go on or to stop there."""
        with self._changed:
            rung = self._rungs.pop(task_id, None)
        if rung is None:  # it was given up meanwhile, and the next event says so
            return
        path = desk.answer_path(self._directory, task_id, rung)
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(go_on))

    def close(self) -> list[Finished]:
        """Stop what still runs; what it drew until then comes back as failed measurements."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=60)
        with self._changed:
            stopped = [
                Finished(each.task_id, each.worker, each.failed("it was stopped with the search"))
                for each in self._running.values()
            ]
            self._running.clear()
            self._queue.clear()
        return stopped

    # What follows runs in the thread of Ray Tune.

    def _run(self) -> None:
        logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # which trials failed, the search says itself
        os.environ.update(
            {"TUNE_MAX_PENDING_TRIALS_PG": str(self._workers or max(self._cluster.slots, 16)), **_OPTIONS}
        )
        try:
            trainable = tune.with_parameters(node.Training, plant=self._plant)
            tune.Tuner(
                tune.with_resources(trainable, tune.PlacementGroupFactory([dict(self._cluster.request)])),
                tune_config=tune.TuneConfig(
                    search_alg=_Tasks(self),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=tune.RunConfig(
                    name="trainings",
                    storage_path=str(self._directory.parent / "ray"),
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=_RETRIES),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    stop=_Closing(self),
                    callbacks=[_Losses(self)],
                ),
            ).fit()
            if not self._closing:
                raise RuntimeError("Ray Tune ended before the search did")
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _take(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next task as a configuration; None while there is none."""
        with self._changed:
            if not self._running:  # Ray Tune sleeps for a second when it runs nothing and is given nothing
                self._changed.wait_for(lambda: self._queue or self._closing)
            if self._closing:
                return str(Searcher.FINISHED)
            if not self._queue:
                return None
            run = self._running[trial_id] = self._queue.popleft()
        replay = None
        if run.replay is not None:
            outcome, seconds = run.replay
            replay = {"measurement": outcome.to_json(), "seconds": seconds}
        # As text, since Ray Tune looks into nested configurations.
        return {"task_id": run.task_id, "task": json.dumps(run.task.to_json()), "replay": json.dumps(replay)}

    def _hear(self, trial_id: str, news: dict[str, Any]) -> None:
        """What a worker tells of a task that goes on."""
        with self._changed:
            run = self._running[trial_id]
            if news["kind"] == "began":
                run.node_id, run.worker = news["node"], news["name"]
            elif news["kind"] == "drew":
                run.drawn = tuple(Reading.from_json(each) for each in news["readings"])
            elif news["kind"] == "rung":
                report = RungReport(**news["report"])
                # A training that is tried again finds the answer that it was given before.
                if not desk.answer_path(self._directory, run.task_id, report.rung).is_file():
                    self._rungs[run.task_id] = report.rung
                    self._events.append(RungReached(run.task_id, report))
                    self._changed.notify_all()

    def _recover(self, trial: Any) -> None:
        """Ray Tune tries a task again; bad luck takes none of its attempts."""
        with self._changed:
            run = self._running[trial.trial_id]
            if self._unlucky(run):
                trial.max_failures += 1

    def _give_up(self, trial: Any) -> None:
        """Ray Tune has used up the attempts of a task."""
        with self._changed:
            run = self._running.pop(trial.trial_id)
            if self._unlucky(run):
                self._queue.appendleft(run)
                return
            self._finish(run, run.failed(f"it was tried twice and its worker was lost: {_last_error(trial)}"))

    def _complete(self, trial_id: str) -> None:
        """A task has an outcome, which lies in its file."""
        with self._changed:
            if self._closing:
                return
            run = self._running.pop(trial_id)
            file = result_path(self._directory, run.task_id)
            outcome = Measurement.from_json(json.loads(file.read_text()))
            if run.lost:
                outcome = replace(outcome, readings={**outcome.readings, LOST: run.lost})
            self._finish(run, outcome)

    def _finish(self, run: _Running, outcome: Measurement) -> None:
        """Tell the driver, and wait until it has submitted what comes next: Ray Tune ends workers without a task."""
        self._rungs.pop(run.task_id, None)
        self._events.append(Finished(run.task_id, run.worker, outcome))
        self._changed.notify_all()
        self._changed.wait_for(lambda: (self._idle and not self._events) or self._closing, timeout=10.0)

    def _unlucky(self, run: _Running) -> bool:
        """Whether the attempt that has just ended was lost with its node, or before it had begun."""
        run.lose()
        node_id, run.node_id = run.node_id, None
        if node_id is None:
            run.starts += 1
            return run.starts < _STARTS
        return not self._cluster.is_alive(node_id)


class _OfThisProcess:
    """Ray Tune copies and pickles what it is given; there is one executor, in this process."""

    def __init__(self, executor: RayExecutor | None = None) -> None:
        self.executor = executor

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def __deepcopy__(self, memo: Any) -> Any:
        return self


class _Tasks(_OfThisProcess, Searcher):  # type: ignore[misc]
    """Gives tasks to Ray Tune as a search algorithm gives configurations."""

    def __init__(self, executor: RayExecutor | None = None) -> None:
        Searcher.__init__(self)
        _OfThisProcess.__init__(self, executor)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self.executor._take(trial_id) if self.executor else None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if self.executor:
            self.executor._hear(trial_id, json.loads(result["news"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if self.executor and not error:
            self.executor._complete(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is what resumes."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Losses(_OfThisProcess, tune.Callback):  # type: ignore[misc]
    """Hears of lost workers and nodes."""

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.executor:
            self.executor._recover(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.executor:
            self.executor._give_up(trial)


class _Closing(_OfThisProcess, tune.Stopper):  # type: ignore[misc]
    """Stops everything once the executor is closed."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.executor is not None and self.executor._closing


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


def _shipped(paths: Iterable[Path]) -> dict[str, Any]:
    """Contents of files in Ray's object store, by path."""
    return {str(path): ray.put(path.read_bytes()) for path in paths}


def _last_error(trial: Any) -> str:
    """What Ray said when the last attempt failed."""
    try:
        text = Path(trial.error_file).read_text()
    except (OSError, TypeError):
        return "no reason is known"
    return _telling_line(text.rpartition("Failure #")[2].partition("\n")[2])


def _telling_line(error: object) -> str:
    """The line of an error of Ray's that says what happened: the last of a traceback, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if any(line.startswith(("File ", "Traceback", "ray::")) for line in lines) else 0]
