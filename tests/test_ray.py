"""Searches on Ray: a real cluster of two nodes on this machine, workers and nodes lost, resume, shipped files."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from greennas.config import load_config
from greennas.errors import GreenNASError
from greennas.loop import Progress
from greennas.results import SearchResult
from greennas.search import continue_search, run_search

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

SPACE = '''
"""A space that no other process than the driver can read where it lies."""
import os
import time
from pathlib import Path

from torch import nn

WIDTHS = [2, 3, 4, 6, 8, 12, 16, 24]
if "{folder}" in __file__ and os.environ.get("DRIVER") != "{folder}":
    raise RuntimeError("this node does not have the file")


class Slow(nn.Module):
    def forward(self, x):
        if self.training and not x.is_meta:
            time.sleep({sleep})
        return x


def sample(trial):
    return {{"first": trial.suggest_categorical("first", WIDTHS), "second": trial.suggest_categorical("second", WIDTHS)}}


def build(params, input_shape, num_classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], params["first"], 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(params["first"], params["second"], 3, stride=2, padding=1),
        Slow(),
        nn.Flatten(),
        nn.Linear(params["second"] * 16, num_classes),
    )
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    found = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "resources": {"meter": 1}, "_system_config": quick, "include_dashboard": False},
    )
    found.add_node(num_cpus=1, resources={"meter": 1, "second": 1})
    yield found
    found.shutdown()


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], str]:
    def write(sleep: float) -> str:
        monkeypatch.setenv("DRIVER", str(tmp_path))
        file = tmp_path / "only_here.py"
        file.write_text(SPACE.format(folder=tmp_path, sleep=sleep))
        return str(file)

    return write


def settings(cluster: Any, space: str, trials: int, **more: Any) -> Any:
    given = {
        "space": space,
        "data.name": "digits",
        "data.train_images": 256,
        "data.validation_images": 100,
        "training.epochs": 2,
        "trials": trials,
        "executor": "ray",
        "cluster.address": cluster.address,
        "energy.confirm": 0,
        "screen.probe_steps": 0,
        **more,
    }
    return load_config(overrides=given)


def test_a_search_on_two_nodes(cluster: Any, space: Callable[[float], str], tmp_path: Path) -> None:
    result = run_search(
        settings(cluster, space(0.05), 6, **{"training.epochs": 4, "training.rungs": [1]}), tmp_path / "run"
    )
    for trial in result.trials:
        print(trial.state, trial.failure)
    assert result.count(TrialState.COMPLETE) + result.count(TrialState.PRUNED) == 6
