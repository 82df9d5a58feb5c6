"""Candidates: replaying a space with chosen, inherited or random values."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from greennas.sampler.candidates import Candidate, CandidateFactory, ReplayTrial, feature_table, random_value
from greennas.space import SearchSpace, load_space

SHAPE = (1, 8, 8)


def suggest(trial: Any) -> dict[str, Any]:
    """A define-by-run space: which questions come next depends on earlier answers."""
    params = {"depth": trial.suggest_int("depth", 1, 3), "norm": trial.suggest_categorical("norm", [None, "bn", "gn"])}
    for i in range(params["depth"]):
        params[f"width {i}"] = trial.suggest_int(f"width {i}", 8, 64, step=8)
        params[f"kernel {i}"] = trial.suggest_categorical(f"kernel {i}", [1, 3, 5])
    params["scale"] = trial.suggest_float("scale", 1e-3, 1e3, log=True)
    params["share"] = trial.suggest_float("share", 0.0, 1.0, step=0.25)
    params["hidden"] = trial.suggest_int("hidden", 1, 1000, log=True)
    return params


PARENT = {
    "depth": 3,
    "norm": None,
    "width 0": 8,
    "width 1": 64,
    "width 2": 16,
    "kernel 0": 5,
    "kernel 1": 1,
    "kernel 2": 3,
    "scale": 2.5,
    "share": 0.75,
    "hidden": 37,
}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("nasbench201", width=4, depth=1)


@pytest.fixture
def factory(space: SearchSpace) -> CandidateFactory:
    return CandidateFactory(space, SHAPE, 10, 32)


def test_without_mutation_a_child_is_its_parent() -> None:
    assert suggest(ReplayTrial(np.random.default_rng(0), [PARENT])) == PARENT


def test_with_full_mutation_nothing_is_inherited() -> None:
    trial = ReplayTrial(np.random.default_rng(0), [PARENT], mutation_rate=1.0)
    suggest(trial)
    changed = [name for name, value in trial.params.items() if value != PARENT.get(name)]
    assert len(changed) > len(trial.params) / 2


def test_mutation_changes_about_its_rate_of_the_values() -> None:
    changed = 0
    for seed in range(300):
        trial = ReplayTrial(np.random.default_rng(seed), [{"x": 500}], mutation_rate=0.2)
        changed += trial.suggest_int("x", 0, 10**6) != 500
    assert 0.12 < changed / 300 < 0.28


def test_children_of_two_parents_mix_them() -> None:
    other = {**PARENT, "width 0": 24, "width 1": 32, "width 2": 48, "hidden": 700, "scale": 0.1}
    seen = set()
    for seed in range(20):
        child = suggest(ReplayTrial(np.random.default_rng(seed), [PARENT, other]))
        assert all(value in (PARENT[name], other[name]) for name, value in child.items())
        seen.add(tuple(child.values()))
    assert len(seen) > 10


@pytest.mark.parametrize(
    "parent",
    [
        {"depth": 9},
        {"depth": "deep"},
        {"norm": "layer"},
        {"kernel 0": 7},
        {"width 0": 12},
        {"share": 0.3},
        {"scale": -1.0},
        {"hidden": None},
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_drawn_anew(parent: dict[str, Any]) -> None:
    (name,) = parent
    trial = ReplayTrial(np.random.default_rng(0), [PARENT | parent])
    child = suggest(trial)
    assert child[name] != parent[name]
    check(trial)
    assert {key: value for key, value in child.items() if key != name and key in PARENT}.items() <= PARENT.items()


@pytest.mark.parametrize("seed", range(30))
def test_values_lie_in_their_distributions(seed: int) -> None:
    trial = ReplayTrial(np.random.default_rng(seed), [PARENT] if seed % 2 else [], mutation_rate=0.5)
    suggest(trial)
    check(trial)


def test_steps_end_at_the_high_end_whatever_rounding_says() -> None:
    found = [ReplayTrial(np.random.default_rng(seed)).suggest_float("r", 0.0, 0.7, step=0.1) for seed in range(50)]
    assert max(found) == 0.7  # not 7 * 0.1, which is more
    assert ReplayTrial(np.random.default_rng(0), [{"r": max(found)}]).suggest_float("r", 0.0, 0.7, step=0.1) == 0.7


def check(trial: ReplayTrial) -> None:
    """What a replay has drawn, a real trial of Optuna takes without a warning, and gives back."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(trial.params)
    real = study.ask()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert suggest(real) == trial.params
    assert real.distributions == trial.distributions


def test_a_name_asked_twice_has_one_value() -> None:
    trial = ReplayTrial(np.random.default_rng(0))
    assert len({trial.suggest_float("x", 0, 1) for _ in range(5)}) == 1


def test_random_values_cover_their_range() -> None:
    rng = np.random.default_rng(0)
    steps = {random_value(IntDistribution(1, 9, step=4), rng) for _ in range(60)}
    assert steps == {1, 5, 9}
    grid = {random_value(FloatDistribution(0.0, 0.3, step=0.1), rng) for _ in range(100)}
    assert sorted(grid) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    logs = np.log10([random_value(FloatDistribution(1e-4, 1.0, log=True), rng) for _ in range(400)])
    assert np.median(logs) == pytest.approx(-2, abs=0.4)
    ints = [random_value(IntDistribution(1, 1000, log=True), rng) for _ in range(400)]
    assert min(ints) == 1
    assert max(ints) > 700
    assert np.median(ints) < 100
    assert {random_value(CategoricalDistribution((None, "a")), rng) for _ in range(40)} == {None, "a"}


def test_a_pool_is_distinct_and_leaves_out_what_is_excluded(factory: CandidateFactory) -> None:
    first = factory.pool(30, 0, 0, [], [])
    assert len({candidate.id for candidate in first}) == 30
    assert {candidate.origin for candidate in first} == {"fresh"}
    excluded = {candidate.id for candidate in first}
    second = factory.pool(30, 20, 0, first[:3], excluded)
    ids = {candidate.id for candidate in second}
    assert len(ids) == 30
    assert not ids & excluded
    assert {"fresh", "mutation", "crossover"} <= {candidate.origin for candidate in second}


def candidates_made(factory: CandidateFactory) -> list[Candidate]:
    """All that the factory makes from now on."""
    made: list[Candidate] = []
    make = factory.make

    def noted(*args: Any) -> Candidate:
        made.append(make(*args))
        return made[-1]

    factory.make = noted  # type: ignore[method-assign]
    return made


def test_a_late_pool_costs_no_more_than_an_early_one(factory: CandidateFactory) -> None:
    made = candidates_made(factory)
    assert len(factory.pool(40, 20_000, 0, [], [])) == 40
    assert len(made) < 80
    made.clear()
    assert len(factory.pool(40, 20_001, 0, [], [])) == 40  # most of it stays
    assert len(made) <= 4


def test_a_pool_of_a_small_space_is_not_made_anew(small_space: str) -> None:
    factory = CandidateFactory(load_space(small_space), SHAPE, 10, 32)
    first = factory.pool(100, 0, 0, [], [])
    made = candidates_made(factory)
    for step in range(1, 4):
        assert {c.id for c in factory.pool(100, step, 0, [], [])} == {c.id for c in first}
    assert len(made) <= 15  # a new block a step


def test_half_of_a_pool_is_close_to_the_parents(factory: CandidateFactory) -> None:
    parent = factory.make(np.random.default_rng(7))
    pool = factory.pool(40, 0, 0, [parent], [parent.id])

    def distance(origin: str) -> float:
        found = [c for c in pool if c.origin == origin]
        assert len(found) >= 10
        names = parent.suggestions
        return float(np.mean([sum(c.suggestions.get(n) != names[n] for n in names) for c in found]))

    assert distance("mutation") < distance("fresh")


def test_a_pool_of_a_small_space_ends(small_space: str) -> None:
    factory = CandidateFactory(load_space(small_space), SHAPE, 10, 32)
    pool = factory.pool(100, 0, 0, [], [])
    assert len(pool) == 36
    assert factory.pool(100, 0, 1, pool[:2], [candidate.id for candidate in pool]) == []


def test_networks_that_cannot_be_built_are_left_out_with_a_warning(small_space: str) -> None:
    text = Path(small_space).read_text()
    broken = "    if params['first'] == 8:\n        raise ValueError('eight is not a width')\n    return nn.Sequential("
    Path(small_space).write_text(text.replace("    return nn.Sequential(", broken))
    factory = CandidateFactory(load_space(small_space), SHAPE, 10, 32)
    with pytest.warns(UserWarning, match="small_space cannot be made.*ValueError: eight is not a width") as caught:
        pool = factory.pool(100, 0, 0, [], [])
    assert len(caught) == 1
    assert len(pool) == 30
    assert 8 not in {candidate.architecture.params["first"] for candidate in pool}


def test_a_replayed_candidate_is_the_same_network(factory: CandidateFactory) -> None:
    candidate = factory.make(np.random.default_rng(3))
    again = factory.replay(candidate.suggestions)
    assert again.architecture == candidate.architecture
    assert again.profile is candidate.profile  # remembered, not walked again
    assert again.origin == "given"


def test_what_a_replay_does_not_say_is_always_drawn_alike(factory: CandidateFactory) -> None:
    assert factory.replay({}).id == factory.replay({"lr": 0.1}).id


def test_features_are_finite_and_tell_candidates_apart(factory: CandidateFactory) -> None:
    pool = factory.pool(20, 0, 0, [], [])
    table = feature_table(pool)
    assert table.shape[0] == 20
    assert np.isfinite(table).all()
    assert len(np.unique(table, axis=0)) == 20


def test_numbers_and_truth_values_are_not_mixed_up():
    trial = ReplayTrial(np.random.default_rng(0))
    assert type(trial.suggest_categorical("number", [0, 1])) is int
    assert type(trial.suggest_categorical("truth", [False, True])) is bool
