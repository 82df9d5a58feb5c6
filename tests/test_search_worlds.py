"""Worlds made of tables, in ``experiments/search_efficiency/worlds.py``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "search_efficiency"


@pytest.fixture(scope="module")
def worlds() -> Iterator[ModuleType]:
    """The study; its modules import each other as neighbours."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("worlds")
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def table(worlds):
    """The table FM, and what can be predicted of it."""
    problem = importlib.import_module("problem").load("FM", None)
    return problem, worlds.knowable(problem)


def test_a_world_keeps_energies_and_what_can_be_predicted(worlds, table):
    problem, found = table
    first, again, other = (worlds.world(problem, number) for number in (1, 1, 2))
    assert first.truth == again.truth != other.truth
    assert {key: kwh for key, (_, kwh) in first.truth.items()} == {key: kwh for key, (_, kwh) in problem.truth.items()}
    dealt = worlds.ERROR.losses([1 - first.truth[key][0] for key in found.keys])
    # The rest is what the networks of the table had beyond what is predicted: dealt out anew, not drawn.
    rest = found.losses - found.expected
    assert sorted(dealt - found.expected) == pytest.approx(sorted(rest), abs=1e-9)
    assert np.corrcoef(dealt - found.expected, rest)[0, 1] < 0.5
    assert np.corrcoef(dealt, found.losses)[0, 1] > 0.5


def test_what_is_told_of_accuracy_is_right_on_average(worlds, table):
    """On the table and on worlds made of it, which are told the same."""
    problem, _ = table
    told = worlds.knowable(problem).told
    for tables in ([problem], [worlds.world(problem, number) for number in range(20)]):
        assert all(worlds.knowable(made).told == told for made in tables)
        off = [
            (worlds.ERROR.losses(1 - made.truth[key][0]) - mean) / spread
            for made in tables
            for key, (mean, spread) in told.items()
        ]
        assert np.mean(off) == pytest.approx(0, abs=1e-6)
        assert np.std(off) == pytest.approx(1, abs=0.02)


def test_a_search_that_knows_gets_there_sooner(worlds, table):
    problem, _ = table
    needed = []
    for method in (worlds.METHODS["GreenNAS"], worlds.METHODS["GreenNAS, knows what can be known"]):
        searches = [worlds.Recorder(worlds.world(problem, number), number, 40) for number in range(8)]
        figures = [worlds.finish(method, search).figures() for search in searches]
        needed.append([each["kwh"][-1] if each["kwh_95"] is None else each["kwh_95"] for each in figures])
    assert np.mean(np.log(needed[1])) < np.mean(np.log(needed[0]))


def test_ratios_pair_searches_of_one_world(worlds):
    base = {number: {"kwh": [1.0, 8.0], "kwh_95": 2.0**number} for number in range(4)}
    twice = {number: {"kwh": [1.0, 20.0], "kwh_95": 2.0 ** (number + 1)} for number in range(3)}
    assert worlds.ratios(twice, base, "kwh_95") == pytest.approx((2, 2, 2, 1))
    early = {number: {"kwh": [0.1], "kwh_95": None} for number in range(4)}  # stopped, and not there
    assert worlds.ratios(early, base, "kwh_95") == pytest.approx((1, 1, 1, 0))
    assert worlds.ratios(base, early, "kwh_95") == pytest.approx((1, 1, 1, 1))
    assert worlds.ratios(early, early, "kwh_95") == pytest.approx((1, 1, 1, 0))
    never = {number: {"kwh": [1.0, 4.0 * 2**number], "kwh_95": None} for number in range(4)}
    assert worlds.ratios(never, base, "kwh_95") == pytest.approx((4, 4, 4, 0))


def test_hypervolumes_are_compared_world_by_world(worlds):
    base = {number: {"kwh": [1.0, 2.0], "tight": [0.2 * number, 0.8]} for number in range(4)}
    better = {number: {"kwh": [0.5, 2.0], "tight": [0.2 * number + 0.1, 0.8]} for number in range(3)}
    assert worlds.lead(better, base, 1.5) == pytest.approx((0.1, 0.1, 0.1))
    assert worlds.lead(better, base, 3) == (0, 0, 0)
    mean, low, high = worlds.lead(better, base, 0.7)  # only they have trained anything by then
    assert (mean, low, high) == pytest.approx((0.3, 0.1, 0.5))


def test_the_command_compares_and_goes_on(worlds, monkeypatch, capsys, tmp_path):
    methods = ["GreenNAS", "GreenNAS, knows what can be known", "GreenNAS, error expected as FLOPs^-0.1", "Optuna TPE"]
    options = ["--tables", "FM", "--worlds", "2", "--trials", "12", "--out", str(tmp_path), "--methods", *methods]
    monkeypatch.setattr(sys, "argv", ["worlds.py", *options])
    worlds.main()
    printed = capsys.readouterr().out
    assert "% of the variance of log error can be predicted." in printed
    ratios, leads = printed.split("| hypervolume above GreenNAS's")
    assert [line.split(" | ")[0].strip("| ") for line in leads.splitlines()[2:]] == methods[1:]
    rows = [line.split(" | ") for line in ratios.splitlines() if line.startswith(("| GreenNAS", "| Optuna"))]
    assert [row[0].strip("| ") for row in rows] == methods
    assert {row[1] for row in rows} == {"2"}
    assert rows[0][2].startswith("1.00, ")
    kept = {path: path.read_text() for path in (tmp_path / "runs").glob("*.json")}
    assert len(kept) == len(methods)
    worlds.main()
    assert {path: path.read_text() for path in kept} == kept
