"""Searches on Ray: a real cluster of two nodes on this machine, workers and nodes lost, resume, shipped files."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from greennas.carbon import Phase
from greennas.cluster import connection
from greennas.config import SearchConfig, load_config
from greennas.errors import ConfigError, RunError
from greennas.loop import Progress
from greennas.results import SearchResult
from greennas.run import RunFolder
from greennas.search import continue_search, run_search

pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

SPACE = '''
"""A space file that only the driver can load from where it lies."""
import os

from torch import nn

FOLDER = "{folder}"
WIDTHS = [2, 3, 4, 6, 8, 12, 16, 24]
if FOLDER in __file__ and os.environ.get("DRIVER") != FOLDER:
    raise RuntimeError("this node does not have the file")


def sample(trial):
    return {{name: trial.suggest_categorical(name, WIDTHS) for name in ("first", "second")}}


def build(params, input_shape, num_classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], params["first"], 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(params["first"], params["second"], 3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(params["second"] * 16, num_classes),
    )
'''
WIDTHS = [2, 3, 4, 6, 8, 12, 16, 24]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "resources": {"meter": 1}, "_system_config": quick, "include_dashboard": False}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    found.add_node(num_cpus=1, resources={"meter": 1, "second": 1})
    yield found
    found.shutdown()


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DRIVER", str(tmp_path))
    file = tmp_path / "only_here.py"
    file.write_text(SPACE.format(folder=tmp_path))
    return str(file)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """All networks of the space, each trained in 1 to 2 s."""
    file = tmp_path / "table.csv"
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["params", "accuracy", "train_energy_j", "train_seconds"])
        for first, second in itertools.product(WIDTHS, WIDTHS):
            params = json.dumps({"first": first, "second": second})
            writer.writerow([params, 1 - 1 / (first + second), 10.0 * first * second, 1 + (first + second) / 48])
    return str(file)


def settings(cluster: Any, space: str, trials: int, table: str | None = None, **more: Any) -> SearchConfig:
    given: dict[str, Any] = {"space": space, "trials": trials, "executor": "ray", "cluster.address": cluster.address}
    if table is None:
        given |= {"data.name": "digits", "data.train_images": 256, "data.validation_images": 100}
        given |= {"training.epochs": 4, "training.rungs": [1], "screen.probe_steps": 0}
    else:
        given |= {"table.file": table, "table.speedup": 1.0, "table.input_shape": [1, 8, 8], "screen.probe_steps": 0}
    return load_config(overrides=given | more)


def kill_a_worker() -> bool:
    """Kill a process that Ray trains in; False where there is none."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and b"Trainable.train" in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
                return True
    return False


def billed(result: SearchResult) -> list[Any]:
    """The entries of the bill that the cluster's nodes have drawn."""
    return [entry for entry in result.cost.entries if entry.reading.node]


def test_trainings_on_another_node(cluster: Any, space: str, tmp_path: Path) -> None:
    # Two budgets of the same number of epochs: their answers must not be mistaken for each other's.
    rungs = {"training.rungs": [{"epochs": 1, "data_share": 0.5}, 1]}
    more = {"energy.confirm": 2, "cluster.resources": "cpu=1,meter=1,second=1"}
    config = settings(cluster, space, 5, **rungs, **more)
    result = run_search(config, tmp_path / "run")
    assert result.count(TrialState.COMPLETE) + result.count(TrialState.PRUNED) == 5, [t.failure for t in result.trials]
    assert result.count(TrialState.COMPLETE) >= 4
    (node,) = {entry.reading.node for entry in billed(result)}
    assert {entry.worker for entry in billed(result)} == {node}
    assert all(entry.reading.device and entry.reading.energy_j is not None for entry in billed(result))
    assert all(each.ratio == pytest.approx(1, abs=0.01) for each in result.cost.reconciliation())
    for trial in result.front:  # tested and measured again with weights that came back from the nodes
        assert 0 < trial.test["accuracy"] <= 1
        assert trial.confirmed is not None
        assert (tmp_path / "run" / "checkpoints" / f"{trial.architecture_id}.safetensors").is_file()
        assert trial.architecture is not None
        assert trial.architecture.space == space
    assert not (tmp_path / "run" / "work").exists()


def test_a_lost_worker_is_tried_again_once(cluster: Any, space: str, table: str, tmp_path: Path) -> None:
    killed: list[bool] = []

    def kill(state: Progress) -> None:
        """The first training's worker once; later those of the third one twice."""
        ended = state.result.count(TrialState.COMPLETE) + state.result.count(TrialState.FAIL)
        if state.running and len(killed) < {0: 1, 2: 3}.get(ended, 0) and kill_a_worker():
            killed.append(True)

    result = run_search(settings(cluster, space, 4, table, workers=1), tmp_path / "run", on_progress=kill)
    assert len(killed) == 3
    assert [trial.state for trial in result.trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert "tried twice and its worker was lost" in (result.trials[2].failure or "")


def test_a_lost_node_costs_no_trial(cluster: Any, space: str, table: str, tmp_path: Path) -> None:
    (second,) = cluster.worker_nodes
    removed: list[str] = []

    def remove(state: Progress) -> None:
        if not removed and state.running == 2 and state.result.count(TrialState.COMPLETE) >= 2:
            removed.append("second")
            cluster.remove_node(second, allow_graceful=False)

    result = run_search(settings(cluster, space, 7, table), tmp_path / "run", on_progress=remove)
    cluster.add_node(num_cpus=1, resources={"meter": 1, "second": 1})
    assert removed
    assert len({entry.reading.node for entry in billed(result)}) == 2
    assert [trial.state for trial in result.trials] == ["COMPLETE"] * 7, [t.failure for t in result.trials]
    assert len({trial.architecture_id for trial in result.trials}) == 7
    trained = [entry for entry in billed(result) if entry.phase is Phase.TRAINING]
    assert len(trained) == 7
    energies = [trial.metrics["train_energy_j"] or 0.0 for trial in result.trials]
    assert math.isclose(sum(entry.reading.energy_j or 0.0 for entry in trained), sum(energies))


def test_a_killed_driver_loses_nothing_that_had_finished(cluster: Any, space: str, table: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = tmp_path / "search.yaml"
    config.write_text(settings(cluster, space, 5, table, **{"table.speedup": 2.0}).to_yaml())
    command = [sys.executable, "-c", "from greennas.cli import main; main()", "search"]
    with subprocess.Popen(
        [*command, "--config", str(config), "--out", str(run)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as driver:
        assert driver.stderr is not None
        said: list[str] = []
        for line in driver.stderr:
            said.append(line)
            if line.startswith("trial 1"):
                break
        driver.kill()
    before = SearchResult(RunFolder.open(run).config, RunFolder.open(run).read_study())
    assert before.count(TrialState.RUNNING) >= 1, said
    finished = {trial.number: trial.metrics for trial in before.trials if trial.state == "COMPLETE"}
    assert finished
    shutil.copytree(run, tmp_path / "copy")
    for folder, executor in ((run, "ray"), (tmp_path / "copy", "local")):
        result = continue_search(folder, overrides={"executor": executor, "workers": 2})
        complete = {trial.number: trial for trial in result.trials if trial.state == "COMPLETE"}
        assert len(complete) == len({trial.architecture_id for trial in complete.values()}) == 5
        assert {number: complete[number].metrics for number in finished} == finished
        assert result.count(TrialState.FAIL) == result.count(TrialState.RUNNING) == 0


def test_devices_are_never_mixed_silently(
    cluster: Any, space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def devices(*names: str) -> None:
        found = {name: {"cpu": {"model": name}, "gpus": []} for name in names}
        monkeypatch.setattr(connection, "_census", lambda node_ids: found)

    devices("One CPU", "Another CPU")
    with pytest.raises(ConfigError, match=r"several kinds of devices \(Another CPU, One CPU\)"):
        run_search(settings(cluster, space, 1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"without a device profile of .*; run 'greennas calibrate'"):
        run_search(settings(cluster, space, 1, **{"cluster.normalise_to": "One CPU"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # A node that is not of the kind that the search began with, as one that an autoscaler has added.
    devices("Another CPU")
    result = run_search(settings(cluster, space, 1, workers=1), tmp_path / "run")
    assert "compares energies of Another CPU" in (result.trials[0].failure or "")
    assert not billed(result)


def test_what_the_cluster_does_not_have_is_one_sentence(cluster: Any, space: str, table: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No node of the cluster has GPU=1,CPU=1 .* or give --concurrency"):
        run_search(settings(cluster, space, 1, table, **{"cluster.resources": "gpu=1"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_ray_that_stops_is_one_sentence(
    cluster: Any, space: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object) -> None:
        raise ConnectionError("the head node is gone\nand a traceback")

    monkeypatch.setattr("ray.tune.Tuner.fit", stop)
    with pytest.raises(RunError, match=r"Ray has stopped \(the head node is gone\); .* go on with --resume") as caught:
        run_search(settings(cluster, space, 1, table), tmp_path / "run")
    assert "\n" not in str(caught.value)
