"""The study of rungs in ``experiments/rungs``, on the trainings that lie beside it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "rungs"


@pytest.fixture(scope="module")
def module() -> Iterator[Callable[[str], ModuleType]]:
    """Loads a module of the experiment, whose modules import each other as neighbours."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def study(module: Callable[[str], ModuleType]) -> Any:
    measure = module("measure")
    return module("signals").Study(measure.search_space(), measure.TABLE)


def test_the_trainings_are_all_there(module: Callable[[str], ModuleType], study: Any) -> None:
    measure = module("measure")
    assert study.params == measure.networks()
    assert len(study) >= 30
    trainings = {(each.name, each.seed) for each in measure.TRAININGS}
    assert {(name, seed) for name, seed, _ in study.rows[0]} == trainings | {("proxies", 2)}


def test_tau_is_kendalls(module: Callable[[str], ModuleType]) -> None:
    signals, rng = module("signals"), np.random.default_rng(0)
    x, y = rng.integers(0, 6, 30).astype(float), rng.normal(size=30)  # ties among the first
    assert signals.tau(x, y) == pytest.approx(kendalltau(x, y).statistic)
    counts = rng.multinomial(30, np.full(30, 1 / 30))
    again = np.repeat(np.arange(30), counts)
    assert signals.tau(x, y, counts.astype(float)) == pytest.approx(kendalltau(x[again], y[again]).statistic)
    signal = signals.Signal("", ((x, y),), 1.0)
    low, high = signals.interval(signal, resamples=300)
    draws = [kendalltau(x[i], y[i]).statistic for i in rng.integers(30, size=(300, 30))]
    assert (low, high) == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=0.06)


def test_a_signal_is_never_of_the_training_that_it_is_held_against(study: Any) -> None:
    finals = {id(final): seed for seed, final in enumerate(study.finals)}
    for signal in study.signals():
        for values, final in signal.pairs:
            seed = finals[id(final)]
            own = study.values("full", seed, 8, "accuracy")
            assert not np.array_equal(values, own)
            for epochs in (1, 2, 4):
                assert not np.array_equal(values, study.values("full", seed, epochs, "accuracy"))


def test_without_rungs_a_replay_trains_all_and_finds_the_front(module: Callable[[str], ModuleType], study: Any) -> None:
    replay = module("replay")
    found = replay.Replay(study)
    run = found.search(replay.Ladder("none"), "random", 0)
    assert len(run) == len(study)
    assert run[-1, 1] == pytest.approx(1)
    assert np.all(np.diff(run, axis=0)[:, 0] > 0)
    assert np.all(np.diff(run, axis=0)[:, 1] >= 0)
    assert run[-1, 0] == pytest.approx(study.full_joules * len(study), rel=0.1)
    # Rungs at which everything goes on cost and change nothing.
    kept = found.search(replay.Ladder("all", (replay.Rung(1, 14), replay.Rung(2)), keep=1.0), "random", 0)
    assert np.array_equal(kept[:, 1], run[:, 1])
    assert kept[-1, 0] > run[-1, 0]
    halved = found.search(replay.Ladder("half", (replay.Rung(1, 14),)), "random", 0)
    assert halved[-1, 0] < run[-1, 0]
    assert found.search(replay.Ladder("none"), "green", 0)[-1, 1] == pytest.approx(1)


def test_the_report_has_every_figure(module: Callable[[str], ModuleType]) -> None:
    run = module("run")
    result = json.loads((FOLDER / "result.json").read_text())
    assert (FOLDER / "table.md").read_text() == run.markdown(result)
