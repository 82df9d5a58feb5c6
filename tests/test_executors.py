"""Local workers: what comes back from tasks that go well and from those that do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_folders import write_jpegs

import greennas
from greennas.energy import Kind
from greennas.executors import Event, Finished, LocalExecutor, RungReached, local
from greennas.executors.local import result_path
from greennas.measurement import EvaluationTask, Measurement
from greennas.sampler.candidates import ReplayTrial
from greennas.tensorfile import read_tensors
from greennas.trainer import TrainingPlan

SPACE = """
import mmap
import os
import signal
import time

import torch
from torch import nn


LEAKED = []


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
            if self.kind == "batch" and self.training:  # 16 MiB an image, written to
                x = x + torch.ones(len(x), 2**22).mean(1, keepdim=True)
            if self.kind == "leak":  # memory that no allocation's limit counts, 32 MiB a batch
                part = mmap.mmap(-1, 2**25)
                part.write(bytes(2**25))
                LEAKED.append(part)
                time.sleep(0.05)
            if self.kind == "stubborn":
                while True:
                    try:
                        time.sleep(60)
                    except Exception:
                        pass
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
    assert 0 < measurement.seconds < 15
    assert set(measurement.readings) == {"overhead", "train"}  # it ended itself, with all that it drew metered
    assert not any("may be low" in note for reading in measurement.all_readings for note in reading.notes)
    executor.close()


def test_a_task_has_a_limit_of_its_own(executor: LocalExecutor, space: str, data: Path) -> None:
    measurement = outcome(executor, replace(task(space, data, "slow", epochs=500), seconds=1.0))
    assert "took longer than the limit of 1 s" in measurement.reason
    assert outcome(executor, task(space, data)).ok


def test_a_task_that_does_not_end_itself_is_killed(
    space: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_GRACE_S", 1.0)
    executor = LocalExecutor(["cpu"], tmp_path / "results", seconds=1.0)
    measurement = outcome(executor, task(space, data, "stubborn"))
    assert "took longer than the limit of 1 s" in measurement.reason
    assert [reading.kind for reading in measurement.all_readings] == [Kind.MODELLED]
    assert outcome(executor, task(space, data)).ok
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


def test_memory_that_grows_unseen_ends_the_training_and_no_other(space: str, data: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(["cpu", "cpu"], tmp_path / "results", memory_bytes=2**30)
    executor.submit("hungry", task(space, data, "leak", epochs=500))
    executor.submit("other", task(space, data, epochs=20))
    found = finished(executor, 2)
    assert found["other"].ok, found["other"].reason
    reason = found["hungry"].reason
    assert reason == "out of memory: it took more than its limit of 1.07 GB (limits.memory_gb)"
    assert found["hungry"].metrics["accuracy"] is None
    train = found["hungry"].readings["train"]
    assert sum(reading.energy_j or 0 for reading in train) > 0
    executor.close()


def test_a_batch_that_does_not_fit_is_taken_in_parts(space: str, data: Path, tmp_path: Path) -> None:
    """Of 64 images at once 1 GiB would be needed, and its double for the gradients."""
    executor = LocalExecutor(["cpu"], tmp_path / "results", memory_bytes=3 * 2**28)
    measurement = outcome(executor, task(space, data, "batch"))
    assert measurement.ok, measurement.reason
    assert measurement.environment["microbatch"] in (16, 32)
    assert measurement.steps == 4
    executor.close()
    roomy = LocalExecutor(["cpu"], tmp_path / "results")
    assert outcome(roomy, task(space, data, "batch")).environment["microbatch"] is None
    roomy.close()


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


def finished(executor: LocalExecutor, count: int) -> dict[str, Measurement]:
    """Outcomes of ``count`` tasks that run side by side."""
    found: dict[str, Measurement] = {}
    workers = set()
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        for event in executor.wait(1.0):
            assert isinstance(event, Finished)
            found[event.task_id] = event.measurement
            workers.add(event.worker)
    assert workers == {f"worker-{i}" for i in range(count)}
    return found


def test_two_workers_run_side_by_side(space: str, data: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(["cpu", "cpu"], tmp_path / "results")
    executor.submit("a", task(space, data, "slow"))
    executor.submit("b", task(space, data, "slow"))
    assert executor.free == 0
    assert sorted(finished(executor, 2)) == ["a", "b"]
    executor.close()


def test_one_worker_and_several_give_the_same_results(data: Path, tmp_path: Path) -> None:
    """Bit by bit: accuracies, losses and weights, from memory and from files, augmented, with batch norm."""
    write_jpegs(tmp_path / "pictures", 12, 20)
    pictures = tmp_path / "files"
    greennas.load_data(f"folder:{tmp_path / 'pictures'}", resolution=8, memory_gb=0).save(pictures)
    resnet = greennas.load_space("resnet", width=4)
    proposals = [resnet.sample(ReplayTrial(np.random.default_rng(seed))) for seed in range(2)]

    def tasks(folder: Path) -> dict[str, EvaluationTask]:
        folder.mkdir()
        plan = TrainingPlan(epochs=2, batch_size=8, augment=True, precision="float32")
        return {
            f"{source.name}-{i}": EvaluationTask(
                "train",
                "resnet",
                str(source),
                {"width": 4},
                params=params,
                plan=plan,
                exclusive=False,
                inference=False,
                checkpoint=str(folder / f"{source.name}-{i}"),
            )
            for source in (data, pictures)
            for i, params in enumerate(proposals)
        }

    alone, together = tasks(tmp_path / "alone"), tasks(tmp_path / "together")
    one = LocalExecutor(["cpu"], tmp_path / "results")
    expected: dict[str, Measurement] = {}
    for name, each in alone.items():
        one.submit(name, each)
        expected |= finished(one, 1)
    one.close()
    several = LocalExecutor(["cpu"] * len(together), tmp_path / "results")
    for name, each in reversed(together.items()):
        several.submit(name, each)
    found = finished(several, len(together))
    several.close()
    for name in alone:
        assert expected[name].ok, expected[name].reason
        for metric in ("accuracy", "loss"):
            assert found[name].metrics[metric] == expected[name].metrics[metric]
        weights = [read_tensors(tmp_path / place / name)[0] for place in ("alone", "together")]
        assert all(torch.equal(weights[0][part], weights[1][part]) for part in weights[0])
    assert len({measurement.metrics["loss"] for measurement in expected.values()}) == len(alone)


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
