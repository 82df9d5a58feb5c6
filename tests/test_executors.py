"""Local workers: what comes back from tasks that go well and from those that do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import greennas
from greennas.energy import Kind
from greennas.executors import Event, Finished, LocalExecutor, RungReached
from greennas.executors.local import result_path
from greennas.measurement import EvaluationTask, Measurement
from greennas.trainer import TrainingPlan

SPACE = """
import os
import signal
import time

import torch
from torch import nn


class Fault(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        if not x.is_meta:
            if self.kind == "slow":
                time.sleep(0.1)
            if self.kind == "large":
                torch.empty(2**32, dtype=torch.uint8)  # 4 GiB of addresses; nothing is written to them
            if self.kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.kind == "exit":
                os._exit(3)
        return x


def sample(trial):
    return {"fault": trial.suggest_categorical("fault", ["none"])}


def build(params, input_shape, num_classes):
    if params["fault"] == "build":
        raise ValueError("no such layer")
    return nn.Sequential(nn.Flatten(), Fault(params["fault"]), nn.Linear(64, num_classes))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    greennas.load_data("digits", train_images=256, validation_images=100).save(path)
    return path


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "faulty.py"
    path.write_text(SPACE)
    return str(path)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(["cpu"], tmp_path / "results")
    yield executor
    executor.close()


def task(space: str, data: Path, fault: str = "none", **plan: Any) -> EvaluationTask:
    settings = TrainingPlan(**({"epochs": 1, "batch_size": 64, "precision": "float32"} | plan))
    return EvaluationTask(
        "train", space, str(data), params={"fault": fault}, plan=settings, exclusive=False, inference=False
    )


def next_event(executor: LocalExecutor, within_s: float = 60.0) -> Event:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        events = executor.wait(1.0)
        if events:
            (event,) = events
            return event
    raise AssertionError("no event in time")


def outcome(executor: LocalExecutor, work: EvaluationTask) -> Measurement:
    executor.submit("task", work)
    assert executor.free == 0
    event = next_event(executor)
    assert isinstance(event, Finished)
    assert (event.task_id, event.worker) == ("task", "worker-0")
    assert executor.free == 1
    return event.measurement


def test_a_result_comes_back_and_lies_in_its_file(
    executor: LocalExecutor, space: str, data: Path, tmp_path: Path
) -> None:
    measurement = outcome(executor, task(space, data))
    assert measurement.ok, measurement.reason
    assert 0 <= (measurement.metrics["accuracy"] or -1) <= 1
    assert (measurement.metrics["train_energy_j"] or 0) > 0
    assert measurement.environment["threads"] == 1
    file = result_path(tmp_path / "results", "task")
    assert Measurement.from_json(json.loads(file.read_text())) == measurement


def test_nothing_happens_while_nothing_runs(executor: LocalExecutor) -> None:
    start = time.monotonic()
    assert executor.wait(0.2) == []
    assert 0.15 < time.monotonic() - start < 5
    assert executor.wait(0.0) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("build", "ValueError: no such layer (line"),
        ("killed", "signal 9 (SIGKILL); it may have run out of memory"),
        ("exit", "ended with exit code 3 and no result"),
    ],
)
def test_what_goes_wrong_costs_one_task(
    executor: LocalExecutor, space: str, data: Path, fault: str, words: str
) -> None:
    measurement = outcome(executor, task(space, data, fault))
    assert not measurement.ok
    assert words in measurement.reason
    assert measurement.all_readings
    assert outcome(executor, task(space, data)).ok  # the worker's place is free again


def test_the_energy_of_a_dead_worker_is_not_lost(executor: LocalExecutor, space: str, data: Path) -> None:
    executor.submit("task", task(space, data, "slow", epochs=50))
    executor.wait(1.5)
    ((_, running),) = executor._running.values()
    running.process.kill()
    event = next_event(executor)
    assert isinstance(event, Finished)
    (reading,) = event.measurement.readings["train"]
    assert reading.kind is Kind.MODELLED
    assert (reading.energy_j or 0) > 0
    assert "may be low" in " ".join(reading.notes)


def test_a_task_that_takes_too_long_is_ended(space: str, data: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(["cpu"], tmp_path / "results", seconds=1.5)
    start = time.monotonic()
    measurement = outcome(executor, task(space, data, "slow", epochs=500))
    assert "took longer than the limit of 1.5 s" in measurement.reason
    assert 1.5 <= time.monotonic() - start < 20
    executor.close()


@pytest.mark.parametrize(("limit", "ok"), [(0, True), (3 * 2**30, False)])
def test_the_memory_limit_is_the_workers(space: str, data: Path, tmp_path: Path, limit: int, ok: bool) -> None:
    executor = LocalExecutor(["cpu"], tmp_path / "results", memory_bytes=limit)
    measurement = outcome(executor, task(space, data, "large"))
    assert measurement.ok is ok, measurement.reason
    if not ok:
        assert "out of memory" in measurement.reason
        assert outcome(executor, task(space, data)).ok
    executor.close()


@pytest.mark.parametrize("go_on", [True, False])
def test_a_training_waits_at_its_rung_for_the_answer(
    executor: LocalExecutor, space: str, data: Path, go_on: bool
) -> None:
    executor.submit("task", task(space, data, epochs=3, rungs=(1,)))
    event = next_event(executor)
    assert isinstance(event, RungReached)
    assert event.report.epoch == 1
    assert executor.wait(0.5) == []
    executor.answer("task", go_on)
    end = next_event(executor)
    assert isinstance(end, Finished)
    assert end.measurement.ok
    assert end.measurement.stopped_rung == (None if go_on else 1)
    assert end.measurement.steps == (12 if go_on else 4)
    assert end.measurement.rungs == (event.report,)


def test_a_worker_that_dies_at_its_rung_is_noticed(executor: LocalExecutor, space: str, data: Path) -> None:
    executor.submit("task", task(space, data, epochs=3, rungs=(1,)))
    assert isinstance(next_event(executor), RungReached)
    ((_, running),) = executor._running.values()
    running.process.kill()
    running.process.join()
    executor.answer("task", True)
    end = next_event(executor)
    assert isinstance(end, Finished)
    assert "SIGKILL" in end.measurement.reason


def test_two_workers_run_side_by_side(space: str, data: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(["cpu", "cpu"], tmp_path / "results")
    executor.submit("a", task(space, data, "slow"))
    executor.submit("b", task(space, data, "slow"))
    assert executor.free == 0
    finished: dict[str, str] = {}
    deadline = time.monotonic() + 60
    while len(finished) < 2 and time.monotonic() < deadline:
        finished |= {event.task_id: event.worker for event in executor.wait(1.0) if isinstance(event, Finished)}
    assert sorted(finished) == ["a", "b"]
    assert sorted(finished.values()) == ["worker-0", "worker-1"]
    executor.close()


def test_closing_ends_what_runs_and_keeps_what_was_left(space: str, data: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    result_path(results, "trial-7").write_text("{}")
    executor = LocalExecutor(["cpu"], results)
    executor.submit("task", task(space, data, "slow", epochs=500))
    ((_, running),) = executor._running.values()
    pid = running.process.pid
    assert pid is not None
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert [path.name for path in results.iterdir()] == ["trial-7.json"]


def test_a_result_of_an_earlier_try_is_not_taken_for_this_one(
    executor: LocalExecutor, space: str, data: Path, tmp_path: Path
) -> None:
    assert outcome(executor, task(space, data)).ok
    assert not outcome(executor, task(space, data, "killed")).ok
    assert not result_path(tmp_path / "results", "task").exists()


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import greennas\n"
        "print('begun')\n"
        "result = greennas.search(trials=2, workers=2, out='run', training={'epochs': 1})\n"
        "print(len(result.trials))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begun", "2"]  # the workers have not run the script again
