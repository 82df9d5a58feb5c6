"""What runs on the nodes: one task of a search as a trial of Ray Tune.

A training runs in a local executor with one place, in a process of its own: what goes wrong with a network is told of
by the same code as on one machine, and what Ray sees as an error is the loss of a worker or of a node.

This module travels by value and imports the engine only where a network is trained, so that a worker that only waits
(a replayed training) does not load torch.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.tune import Trainable

from greennas.cluster.desk import answer_path
from greennas.files import replacing
from greennas.training.rung import Rung

HEARTBEAT_S = 2.0
"""Seconds after which a worker at the latest tells what its training has drawn; it can be stopped as often."""


class WorkerDiedError(Exception):
    """The process that trained has died; Ray Tune tries again once."""


@dataclass(frozen=True)
class Plant:
    """What all trainings of a search have in common.

    Attributes:
        desk: the actor that reads and writes on the driver's node, where the run folder is.
        results: folder for the results there.
        space: path of the space's file there, as the tasks name it; None for an installed space.
        files: paths there to what every node gets a copy of: the space's file and the images.
        tests: the same for the images that only a test may see.
        seconds: limit on a task's duration.
        memory_bytes: limit on a worker's memory; None: its share of the node's memory, 0: none.
        watts_per_core: for modelled energy.
        devices: names of the kinds of devices that trainings may run on; empty for any.
        exchange: makes the energies of several kinds comparable (``greennas.cluster.exchange``); None for one kind.
        shared: whether several trainings share a GPU.
    """

    desk: Any = None
    results: str = ""
    space: str | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    tests: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 1800.0
    memory_bytes: int | None = None
    watts_per_core: tuple[float, float, float] | None = None
    devices: tuple[str, ...] = ()
    exchange: Any = None
    shared: bool = False


class Training(Trainable):  # type: ignore[misc]
    """One task. Its configuration holds ``task_id``, and as JSON the ``task`` and, or null, the ``replay``."""

    def setup(self, config: dict[str, Any], plant: Plant) -> None:
        """Begin the first task of this worker."""
        context = ray.get_runtime_context()
        self._plant = plant
        self._node_id = context.get_node_id()
        self._node = node_name(self._node_id)
        self._cores = int(max(1.0, context.get_assigned_resources().get("CPU", 1.0)))
        self._device = "cuda:0" if ray.get_gpu_ids() else "cpu"
        self._files = Path(self.logdir).parent / "files"  # in Ray's own folder for this search on this node
        self._here = self._files / f"worker-{os.getpid()}"
        self._here.mkdir(parents=True, exist_ok=True)
        self._local: Any = None
        self._told = False
        self._rung: Rung | None = None
        self._death: str | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another task in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for something to tell: where it runs, a rung, what was drawn so far, the end."""
        if self._death is not None:
            raise WorkerDiedError(self._death)
        if not self._told:
            self._told = True
            return _news("began", node=self._node_id, name=self._node)
        if self._rung is not None:
            path = answer_path(self._plant.results, self._task_id, self._rung)
            self._rung = None
            self._runner.answer(self._task_id, ray.get(self._plant.desk.answer.remote(str(path))))
        for event in self._runner.wait(HEARTBEAT_S):
            if hasattr(event, "report"):
                self._rung = event.report.rung
                return _news("rung", report=asdict(event.report))
            if event.died:
                self._death = event.measurement.reason
                return _news("drew", readings=self._marked([r.to_json() for r in event.measurement.all_readings]))
            return self._deliver(event.measurement)
        readings = [reading.to_json() for reading in self._runner.drawn().values()]
        return _news("drew", readings=self._marked(readings))

    def cleanup(self) -> None:
        """End what runs and leave nothing behind."""
        if self._local is not None:
            self._local.close()
        shutil.rmtree(self._here, ignore_errors=True)

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._task_id: str = config["task_id"]
        self._told = False
        self._rung = None
        self._death = None
        self._checkpoint: str | None = None
        replay = json.loads(config["replay"])
        if replay is not None:
            self._runner: Any = _Replay(**replay)
        else:
            self._runner = self._train(json.loads(config["task"]))

    def _train(self, task: dict[str, Any]) -> Any:
        """Start a process for the task."""
        from greennas.energy import metered_device
        from greennas.executors.local import LocalExecutor
        from greennas.measurement import EvaluationTask, Measurement

        if self._local is None:
            self._local = LocalExecutor(
                [self._device],
                self._here,
                memory_bytes=self._memory_bytes(),
                seconds=self._plant.seconds,
                watts_per_core=self._plant.watts_per_core,
                threads=self._cores,
            )
        self._metered = metered_device(self._device)
        if self._plant.devices and self._metered not in self._plant.devices:
            reason = (
                f"the node {self._node} trains on {self._metered} and the search compares energies of "
                f"{', '.join(self._plant.devices)}; keep such nodes out with --set cluster.accelerator"
            )
            return _Replay(0.0, Measurement.failed(reason).to_json())
        if task["work"] == "train":
            self._checkpoint = task["checkpoint"]
        self._bring(task)
        self._task = EvaluationTask.from_json(task)
        self._local.submit(self._task_id, self._task)
        return self._local

    def _bring(self, task: dict[str, Any]) -> None:
        """Have what a task needs on this node, and name it there."""
        files = {**self._plant.files, **(self._plant.tests if task["work"] == "test" else {})}
        copies = {path: self._copy(path, reference) for path, reference in files.items()}
        if self._plant.space is not None:
            task["space_file"] = str(copies[self._plant.space])
        task["data"] = str(self._files / Path(task["data"]).name)
        if task["checkpoint"] is not None:
            here = self._here / Path(task["checkpoint"]).name
            if task["work"] == "test":
                here.write_bytes(ray.get(self._plant.desk.read.remote(task["checkpoint"])))
            task["checkpoint"] = str(here)

    def _copy(self, path: str, reference: Any) -> Path:
        """This node's copy of a file of the driver's."""
        copy = self._files / Path(path).parent.name / Path(path).name
        if not copy.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with replacing(copy) as temporary:
                temporary.write_bytes(ray.get(reference))
        return copy

    def _deliver(self, measurement: Any) -> dict[str, Any]:
        """Bring weights and outcome to the driver's disk, and only then say so."""
        if self._plant.exchange is not None and not isinstance(measurement, dict):
            measurement = self._plant.exchange.convert(self._task, measurement, self._metered)
        outcome = measurement if isinstance(measurement, dict) else measurement.to_json()
        outcome = {**outcome, "readings": {name: self._marked(each) for name, each in outcome["readings"].items()}}
        desk = self._plant.desk
        weights = None if self._checkpoint is None else self._here / Path(self._checkpoint).name
        if weights is not None and weights.is_file():
            ray.get(desk.write.remote(self._checkpoint, weights.read_bytes()))
            weights.unlink()
        result = Path(self._plant.results) / f"{self._task_id}.json"
        ray.get(desk.write.remote(str(result), json.dumps(outcome).encode()))
        return _news("finished", name=self._node) | {"done": True}

    def _marked(self, readings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return marked(readings, self._node, self._plant.shared)

    def _memory_bytes(self) -> int:
        if self._plant.memory_bytes is not None:
            return self._plant.memory_bytes
        from greennas.executors.limits import memory_share

        return memory_share(max(1.0, (os.cpu_count() or 1) / self._cores))


class _Outcome:
    """What ``_Replay`` hands over in place of an executor's event."""

    died = False

    def __init__(self, measurement: dict[str, Any]) -> None:
        self.measurement = measurement


class _Replay:
    """In place of an executor: waits for as long as a training is replayed, and has its outcome."""

    def __init__(self, seconds: float, measurement: dict[str, Any]) -> None:
        self._due_s = time.monotonic() + seconds
        self._measurement = measurement

    def wait(self, timeout_s: float) -> Iterator[_Outcome]:
        left_s = self._due_s - time.monotonic()
        time.sleep(max(0.0, min(left_s, timeout_s)))
        if left_s <= timeout_s:
            yield _Outcome(self._measurement)

    def drawn(self) -> dict[str, Any]:
        return {}


def marked(readings: list[dict[str, Any]], node: str, shared: bool) -> list[dict[str, Any]]:
    """Readings as JSON with their node, and those of a GPU that trainings share as such."""
    return [
        {**each, "node": node, "shared": each["shared"] or (shared and each["component"] == "gpu")} for each in readings
    ]


def node_name(node_id: str) -> str:
    """The node of this process to people: its host, and the beginning of Ray's id, which is never given twice."""
    return f"{platform.node()}-{node_id[:6]}"


def _news(kind: str, **content: Any) -> dict[str, Any]:
    """A result for Ray Tune, which takes nested ones apart."""
    return {"news": json.dumps({"kind": kind, **content})}
