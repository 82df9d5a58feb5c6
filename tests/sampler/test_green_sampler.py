"""GreenSampler in a plain Optuna study: no duplicates, limits, probes, parallel workers, determinism."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import optuna
import pytest

import greennas
from greennas.sampler import Candidate, GreenSampler, Probe
from greennas.sampler.candidates import CandidateFactory, ReplayTrial
from greennas.sampler.mirrored import MirroredSampler
from greennas.space import SearchSpace

optuna.logging.set_verbosity(optuna.logging.ERROR)
SHAPE = (3, 32, 32)


@pytest.fixture
def space() -> SearchSpace:
    return greennas.load_space("nasbench101", vertices=5)


def outcome(space: SearchSpace, params: dict[str, object]) -> tuple[float, float]:
    """A made-up training: deeper and larger is better, with diminishing returns, and costs its FLOPs."""
    profile = space.profile(params, SHAPE, 10, 128)
    accuracy = 0.9 - 0.5 * float(np.exp(-profile.total_flops / 1e9)) + 0.005 * profile.depth
    return accuracy, profile.total_flops / 1e6 + 20.0


def search(space: SearchSpace, trials: int, **options: object) -> optuna.Study:
    sampler = GreenSampler(space, pool=80, **options)  # type: ignore[arg-type]
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, outcome(space, space.sample(trial)))
    return study


def ids(space: SearchSpace, study: optuna.Study) -> list[str]:
    factory = CandidateFactory(space, SHAPE, 10, 128)
    return [factory.replay(trial.params).id for trial in study.trials]


def test_no_architecture_comes_twice_and_a_seed_repeats(space: SearchSpace) -> None:
    first = ids(space, search(space, 14, seed=3))
    assert len(set(first)) == len(first)
    assert ids(space, search(space, 14, seed=3)) == first
    assert ids(space, search(space, 14, seed=4)) != first


def test_proposals_depend_on_the_study_alone(space: SearchSpace) -> None:
    """A sampler that joins a study later, as after a restart, goes on as the first one would have done."""
    whole = search(space, 12, seed=1)
    begun = search(space, 9, seed=1)
    begun.sampler = GreenSampler(space, pool=80, seed=1)
    for _ in range(3):
        trial = begun.ask()
        begun.tell(trial, outcome(space, space.sample(trial)))
    assert ids(space, begun) == ids(space, whole)


@pytest.mark.parametrize("joined", [31, 37])
def test_a_sampler_that_joins_late_chooses_models_alike(space: SearchSpace, joined: int) -> None:
    """Models are fitted anew from time to time; when depends on the trials, not on what a process has seen."""
    whole = search(space, 41, seed=2)
    begun = optuna.create_study(directions=["maximize", "minimize"], sampler=GreenSampler(space, pool=80, seed=2))
    begun.add_trials(whole.trials[:joined])
    for _ in range(joined, 41):
        trial = begun.ask()
        begun.tell(trial, outcome(space, space.sample(trial)))
    assert ids(space, begun) == ids(space, whole)


def test_the_pool_grows_with_what_is_known(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    sampler = GreenSampler(space, pool=40)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    sizes = {}
    for count in range(260):
        if count in (0, 60, 99, 100, 150, 259):
            sizes[count] = sampler.shortlist(study).pool
        replay = ReplayTrial(rng)
        values = list(outcome(space, space.sample(replay)))
        study.add_trial(
            optuna.trial.create_trial(params=replay.params, distributions=replay.distributions, values=values)
        )
    assert sizes == {0: 40, 60: 40, 99: 40, 100: 80, 150: 120, 259: 120}


def test_a_sampler_serves_several_studies(space: SearchSpace) -> None:
    alone = search(space, 9, seed=5)
    shared = GreenSampler(space, pool=80, seed=5)
    first, second = (optuna.create_study(directions=["maximize", "minimize"], sampler=shared) for _ in range(2))
    for _ in range(9):
        for study in (first, second):
            trial = study.ask()
            study.tell(trial, outcome(space, space.sample(trial)))
    assert ids(space, first) == ids(space, second) == ids(space, alone)


def test_a_training_that_never_ends_holds_up_nothing(space: SearchSpace) -> None:
    """Trials that finish after one that does not are known, as in a study that a process left behind."""

    def left_behind(restart: bool) -> list[str]:
        study = search(space, 6, seed=1)
        lost = study.ask()
        space.sample(lost)
        for _ in range(6):
            if restart:
                study.sampler = GreenSampler(space, pool=80, seed=1)
            trial = study.ask()
            study.tell(trial, outcome(space, space.sample(trial)))
        return ids(space, study)

    found = left_behind(False)
    assert len(set(found)) == 13
    assert left_behind(True) == found


def test_parallel_workers_get_different_architectures(space: SearchSpace) -> None:
    study = search(space, 8)
    asked = [study.ask() for _ in range(6)]
    proposed = [space.architecture(space.sample(trial)).id for trial in asked]
    assert len(set(proposed) | set(ids(space, study)[:8])) == 14


def test_threads_of_one_study_get_different_architectures(space: SearchSpace) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=GreenSampler(space, pool=80))

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        found = outcome(space, space.sample(trial))
        time.sleep(0.05)  # a training: the others propose meanwhile
        return found

    study.optimize(objective, n_trials=12, n_jobs=4)
    assert len(set(ids(space, study))) == 12


@pytest.mark.parametrize("values", [(-math.inf, 1.0), (0.5, math.inf)])
def test_an_infinite_outcome_is_no_measurement_and_ends_no_study(
    space: SearchSpace, values: tuple[float, float]
) -> None:
    study = search(space, 6)
    trial = study.ask()
    space.sample(trial)
    study.tell(trial, values)
    study.optimize(lambda trial: outcome(space, space.sample(trial)), n_trials=3)
    assert len(set(ids(space, study))) == 10


def test_the_most_parameters_are_never_exceeded(space: SearchSpace) -> None:
    study = search(space, 12, max_parameters=1_500_000)
    factory = CandidateFactory(space, SHAPE, 10, 128)
    assert all(factory.replay(trial.params).profile.parameters <= 1_500_000 for trial in study.trials)


def test_an_energy_limit_turns_the_search_to_what_keeps_it(space: SearchSpace) -> None:
    limit = 1000.0
    bound = search(space, 24, max_energy_j=limit)
    after = [trial.values[1] for trial in bound.trials[6:]]
    assert np.mean([energy <= limit for energy in after]) >= 0.8  # those near the limit are a gamble
    free = [trial.values[1] for trial in search(space, 24).trials[6:]]
    assert max(free) > limit


def test_a_least_accuracy_turns_the_search_to_what_keeps_it(space: SearchSpace) -> None:
    least = 0.75

    def share(**options: object) -> float:
        found = [t.values[0] for seed in (0, 1) for t in search(space, 24, seed=seed, **options).trials[8:]]
        return float(np.mean(np.array(found) >= least))

    assert share(min_accuracy=least) > share()


def test_probes_are_asked_where_the_energy_is_uncertain_and_their_errors_are_learnt(space: SearchSpace) -> None:
    asked: list[int] = []

    def probe(candidates: Sequence[Candidate]) -> list[Probe]:
        asked.append(len(candidates))
        return [Probe(outcome(space, dict(c.architecture.params))[1]) for c in candidates]

    study = search(space, 14, probe=probe)
    assert asked
    assert all(1 <= count <= 8 for count in asked)
    recorded = [trial.user_attrs["probe_energy_j"] for trial in study.trials if "probe_energy_j" in trial.user_attrs]
    assert recorded


def test_intervals_that_missed_widen_the_next_ones(space: SearchSpace) -> None:
    """What was expected of each training stands in the study, and is held against what came."""
    study = search(space, 12)
    told = [trial.user_attrs["proposal"] for trial in study.trials]
    assert [bool(each["predicted"]) for each in told] == [False] * 4 + [True] * 8
    others: list[dict[str, np.ndarray]] = []
    for place in (0.0, 2.0):  # outcomes in the middle of the predicted intervals, or beyond them
        again = optuna.create_study(directions=study.directions)
        for trial in study.trials:
            interval = trial.user_attrs["proposal"]["predicted"].get("accuracy")
            if interval:
                shift = trial.values[0] - interval["mean"] - place * (interval["high"] - interval["mean"])
                interval |= {end: interval[end] + shift for end in interval}
            again.add_trial(trial)
        sampler = GreenSampler(space, pool=80, shortlist=80)
        shortlist = sampler.shortlist(again)
        others.append({c.id: row for c, row in zip(shortlist.candidates, shortlist.deviation, strict=True)})
    held, missed = others
    for key in held.keys() & missed.keys():
        accuracy, *energy = missed[key] / held[key]
        assert accuracy == pytest.approx(math.exp(0.2 * 8))
        assert energy == [1.0, 1.0]


def test_energies_that_missed_widen_what_a_probe_leaves_open_within_a_factor_of_ten(space: SearchSpace) -> None:
    """A probe takes the place of the prediction: if only the prediction widened, misses would widen it for good."""
    study = search(space, 40)
    widths: list[dict[str, float]] = []
    for beside in (False, True):
        again = optuna.create_study(directions=study.directions)
        for trial in study.trials:
            interval = trial.user_attrs["proposal"]["predicted"].get("train_energy_j")
            if interval:
                factor = trial.values[1] / interval["mean"] * (2 * interval["high"] / interval["low"] if beside else 1)
                interval |= {end: interval[end] * factor for end in interval}
            again.add_trial(trial)
        sampler = GreenSampler(space, shortlist=100)
        shortlist = sampler.shortlist(again)
        probes = {c.id: Probe(outcome(space, dict(c.architecture.params))[1]) for c in shortlist.candidates}
        proposal = sampler.choose(shortlist, again, probes)
        energy = {each.candidate.id: each.predicted["train_energy_j"] for each in (proposal, *proposal.screened)}
        widths.append({key: math.log(found["high"] / found["low"]) for key, found in energy.items()})
    held, missed = widths
    assert held.keys() & missed.keys()
    for key in held.keys() & missed.keys():
        assert missed[key] / held[key] == pytest.approx(10 / math.exp(-0.02 * 36))


def test_a_failed_probe_is_not_chosen(space: SearchSpace) -> None:
    refused: list[str] = []

    def probe(candidates: Sequence[Candidate]) -> list[Probe]:
        refused.append(candidates[0].id)
        return [Probe(failure="out of memory"), *(Probe(1000.0) for _ in candidates[1:])]

    study = search(space, 10, probe=probe)
    tried = ids(space, study)
    assert refused
    assert tried[4] != refused[0]


def test_a_small_space_is_proposed_to_its_last_architecture() -> None:
    space = greennas.load_space("nasbench101", vertices=3)
    assert len(set(ids(space, search(space, 7)))) == 7
    with pytest.raises(greennas.GreenNASError, match="nothing is left"):
        search(space, 8)


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_optunas_samplers_say_when_they_propose_nothing_new(name: str) -> None:
    space = greennas.load_space("nasbench101", vertices=3)
    metrics = ("accuracy", "train_energy_j")
    sampler = MirroredSampler(space, metrics, name=name, screen=False)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        return outcome(space, space.sample(trial))

    with pytest.raises(greennas.GreenNASError, match=f"{name} sampler proposes nothing new .*; take --sampler green"):
        study.optimize(objective, n_trials=8)
