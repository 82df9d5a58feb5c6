"""The study of rungs in ``experiments/rungs``, on the trainings that lie beside it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
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


@pytest.fixture(scope="module")
def mobilenets(module: Callable[[str], ModuleType]) -> Any:
    return module("mobilenets").looked()


def test_the_look_halfway_is_of_each_network_once_and_at_half_of_its_joules(mobilenets: Any) -> None:
    assert len({mobilenets.space.architecture(params).id for params in mobilenets.params}) == 192
    np.testing.assert_allclose(mobilenets.look_cost, mobilenets.cost / 2)
    assert np.mean(mobilenets.look < mobilenets.final) > 0.9
    figures = mobilenets.figures(range(2))
    assert len(mobilenets.half(0).params) == 96
    assert figures["tau"][0] == pytest.approx(kendalltau(mobilenets.look, mobilenets.final).statistic)
    assert [(row["strategy"], row["rung"]) for row in figures["searches"]] == [
        (strategy, rung) for strategy in ("random", "GreenSampler") for rung in ("none", "2 of 4 epochs")
    ]


@pytest.mark.parametrize("green", [False, True])
def test_a_look_stops_networks_and_spends_less_on_them(mobilenets: Any, green: bool) -> None:
    whole, stopped = (mobilenets.search(0, rung, green) for rung in (False, True))
    assert np.all(np.diff(whole[:, 0]) > 0)
    costs = np.diff(stopped[:, 0], prepend=0.0)
    full, half = (np.isclose(costs[:, None], known).any(axis=1) for known in (mobilenets.cost, mobilenets.look_cost))
    assert np.all(full | half)
    assert 0.2 < np.mean(half & ~full) < 0.8
    assert np.all(np.diff(stopped[:, 1]) >= 0)
    assert stopped[-1, 1] <= 1


def test_looks_are_read_from_what_ec_nas_published(
    module: Callable[[str], ModuleType], ec_nas: Path, tmp_path: Path
) -> None:
    source = module("published").Published(ec_nas)
    looked = source.looked(4)
    assert len(looked.params) == len(looked.final) == 91
    assert np.all(looked.look_cost < looked.cost)
    run = replace(looked, shares=(0.3,)).search(0, rung=True, green=False)
    assert 0 < run[-1, 1] <= 1
    rows = source.signals()
    assert {row["part"] for row in rows} == {"4V", "5V"}
