"""The comparison of search strategies in ``experiments/search_efficiency``."""

from __future__ import annotations

import csv
import gzip
import importlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from greennas.pareto import hypervolume
from greennas.space import load_space

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "experiments" / "search_efficiency"
DATA = Path(os.environ.get("GREENNAS_TEST_DATA", ROOT.parent / "shared" / "data" / "ec-nas"))
QUICK = ["random, unique architectures", "Optuna NSGA-II", "Optuna NSGA-III, flat genome"]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Loads a module of the experiment, whose modules import each other as neighbours."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def compare(
    module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """The experiment's command with some options; returns its summary."""
    run = module("run")

    def call(*options: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["run.py", "--out", str(tmp_path), *options])
        run.main()
        found: dict[str, Any] = json.loads((tmp_path / "summary.json").read_text())
        return found

    return call


def test_own_table_is_complete_and_modelled():
    space = load_space(str(FOLDER / "nasbench201_subset.py"))
    with (FOLDER / "nasbench201_fashion_mnist.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trained = {space.architecture(json.loads(row["params"])).id for row in rows if row["seed"] == "0"}
    assert trained == {space.architecture(params).id for params in space.architectures()}
    assert len(trained) == space.size == 196
    assert {row["kind"] for row in rows} == {"modelled"}
    for row in rows:
        assert float(row["train_energy_low_j"]) < float(row["train_energy_j"]) < float(row["train_energy_high_j"])


def test_comparison_on_own_table_goes_on_where_it_was(compare, tmp_path):
    options = ["--tables", "FM", "--trials", "25", "--methods", *QUICK]
    first = compare(*options, "--seeds", "1")["tables"]["FM"]
    assert list(first["methods"]) == QUICK
    for found in first["methods"].values():
        assert found["seeds"] == 1
        assert found["trainings"] == 25
        levels = [each["median"] for each in found["tight_at_kwh"]]
        assert levels == sorted(levels)
        assert 0 < levels[-1] <= 1
    kept = {path: path.read_text() for path in (tmp_path / "runs").glob("*.json")}
    assert len(kept) == len(QUICK)

    # Another process with other methods adds to the same folder; the seeds that are there stay as they are.
    compare("--tables", "FM", "--trials", "25", "--methods", "random encodings", "--seeds", "2")
    second = compare(*options, "--seeds", "1")["tables"]["FM"]
    assert {name: found["seeds"] for name, found in second["methods"].items()} == dict.fromkeys(QUICK, 1) | {
        "random encodings": 2
    }
    assert {path: path.read_text() for path in kept} == kept
    assert "random encodings" in (tmp_path / "table.md").read_text()
    assert "plotly" in (tmp_path / "curves.html").read_text()


@pytest.mark.skipif(not (DATA / "published_runs.csv.gz").exists(), reason="needs EC-NAS's tables (GREENNAS_TEST_DATA)")
def test_references_are_nadir_and_a_tenth(module):
    problem = module("problem").load("4V", DATA)
    points = problem.points
    front = [p for p in points if not any((q <= p).all() and (q < p).any() for q in points)]
    nadir, ideal = np.max(front, axis=0), np.min(front, axis=0)
    assert problem.references["linear"] == pytest.approx(nadir + 0.1 * (nadir - ideal))
    log_kwh = math.log(nadir[1]) + 0.1 * math.log(nadir[1] / ideal[1])
    assert problem.references["tight"] == pytest.approx([nadir[0] + 0.1 * (nadir[0] - ideal[0]), log_kwh])
    # Who evaluates everything has all of the hypervolume in every view.
    recorder = module("problem").Recorder(problem, 0, len(points))
    module("peers").random_unique(recorder)
    found = recorder.figures()
    for view in ("tight", "linear", "loose"):
        assert found[view][-1] == pytest.approx(1)
        reached = next(i for i, volume in enumerate(found[view]) if volume >= 0.99)
        assert (
            found[{"tight": "trials_99", "linear": "trials_linear99", "loose": "trials_loose99"}[view]] == reached + 1
        )


@pytest.mark.skipif(not (DATA / "published_runs.csv.gz").exists(), reason="needs EC-NAS's tables (GREENNAS_TEST_DATA)")
def test_published_runs_tell_what_longer_trainings_gave(module):
    short, long = (module("problem").load(name, DATA) for name in ("4V", "4V-108"))
    assert long.table.rows.keys() == short.table.rows.keys()
    for key, (row,) in long.table.rows.items():
        measured = [27 * each["train_energy_j"] for each in short.table.rows[key]]
        assert min(abs(row["train_energy_j"] - joules) for joules in measured) < 4
    assert all(long.truth[key][0] < error for key, (error, _) in short.truth.items())  # NAS-Bench-101's accuracies


@pytest.mark.skipif(not (DATA / "published_runs.csv.gz").exists(), reason="needs EC-NAS's tables (GREENNAS_TEST_DATA)")
@pytest.mark.parametrize("method", ["Optuna NSGA-II", "SEMOA (re-implemented)", "GreenNAS"])
def test_what_a_table_does_not_have_costs_nothing(module, method):
    problem = module("problem").load("4V", DATA)
    kept = set(sorted(problem.table.rows)[::2])
    rows = {key: row for key, row in problem.table.rows.items() if key in kept}
    part = replace(problem, table=replace(problem.table, rows=rows))
    recorder = module("problem").Recorder(part, 0, 12)
    module("peers").finish(module("run").METHODS[method], recorder)
    assert 4 < len(recorder.ids) <= 12
    assert set(recorder.ids) <= kept


def test_median_counts_seeds_that_never_got_there(module):
    median = module("figures").median
    assert median([3.0, 1.0, 2.0])[0] == 2.0
    assert median([1.0, None, None, 2.0])[0] == 2.0
    assert median([1.0, None, None])[0] == math.inf
    values = np.random.default_rng(1).normal(5, 1, 200).tolist()
    mid, low, high = median(values)
    assert low < mid < high
    assert high - low == pytest.approx(2 * 1.96 * 1.2533 / math.sqrt(200), rel=0.5)


def test_curve_is_the_hypervolume_so_far(module):
    losses = np.random.default_rng(0).random((30, 2))
    reference = np.array([0.9, 0.8])
    found = module("problem").curve(losses, reference)
    assert found == pytest.approx([hypervolume(losses[: i + 1], reference) for i in range(30)])


def test_slow_methods_train_less_and_stand_in_the_same_table(compare, module, monkeypatch):
    monkeypatch.setattr(module("packages"), "SLOW", {"Optuna NSGA-II"})
    options = ["--tables", "FM", "--seeds", "2", "--trials", "25", "--methods", *QUICK]
    methods = compare(*options, "--slow-trials", "10")["tables"]["FM"]["methods"]
    assert {name: (found["seeds"], found["trainings"]) for name, found in methods.items()} == {
        name: (2, 10 if name == "Optuna NSGA-II" else 25) for name in QUICK
    }


def test_genes_are_taken_by_name(module):
    """The order of a package's configurations is its own: gene10 before gene2."""
    genome = module("genome").Genome(load_space("nasbench101", vertices=5))
    genes = list(range(len(genome.names)))
    config = {f"gene{i}": i for i in sorted(genes, key=str)}
    assert list(config.values()) != genes
    assert module("packages").genes_of(config, genome) == genes


def test_genome_reaches_every_network_and_avoids_known_ones(module):
    space = load_space(str(FOLDER / "nasbench201_subset.py"))
    genome = module("genome").Genome(space)
    rng = np.random.default_rng(0)
    known: list[str] = []
    for _ in range(150):
        genes = genome.new([0] * len(genome.names), known, rng)
        key = space.architecture(genome.decode(genes)).id
        assert key not in known
        known.append(key)


def test_published_runs_have_their_own_normalisation(module, tmp_path):
    published = module("published")
    path = tmp_path / "runs.csv.gz"
    lines = ["method,space,run,trial_index,val_acc,tst_acc,energy,train_time,params,co2eq"]
    lines += ["rs,4V,0,1,-80,-80,2,1,1,1", "rs,4V,0,0,0,0,0,0,0,0", "rs,4V,0,2,-60,-60,1,1,1,1"]
    lines += ["semoa,4V,0,0,-90,-90,0.2,1,1,1", "semoa,4V,0,1,-95,-95,2.5,1,1,1"]
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines))
    runs = published.read(path)["4V"]
    assert runs["rs"][0].valid.tolist() == [False, True, True]
    found = published.figures(runs)
    assert found["methods"]["SEMOA"]["end"][0] == pytest.approx(1)  # the whole front is its own
    assert found["methods"]["random"]["end"][0] == 0  # nothing inside of the reference point
    assert found["methods"]["random"]["invalid"] == pytest.approx(1 / 3)
    assert "SEMOA | 1 | 2 | 0%" in published.markdown("4V", found)
