"""GreenSampler in a plain Optuna study, on synthetic accuracy and energy of NAS-Bench-201 networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import Trial, TrialState

from greennas.errors import ConfigError, ExhaustedError
from greennas.pareto import hypervolume
from greennas.predictors.physics import PRIOR_PRICES, physical_score, physical_terms
from greennas.profile import CostProfile
from greennas.sampler import Candidate, GreenSampler, Probe
from greennas.space import SearchSpace, load_space

SHAPE, CLASSES, BATCH = (1, 8, 8), 10, 32
Objective = Callable[[Trial], tuple[float, ...]]
optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("nasbench201", width=4, depth=1)


def profile_of(space: SearchSpace, params: dict[str, Any]) -> CostProfile:
    return space.profile(params, SHAPE, CLASSES, BATCH)


def accuracy_of(profile: CostProfile, params: dict[str, Any]) -> float:
    """Rises with FLOPs and saturates; pooling costs some of it."""
    pooled = sum(operation == "avg_pool_3x3" for operation in params.values())
    return float(np.clip(0.95 - 0.85 * np.exp(-profile.total_flops / 2e5) - 0.03 * pooled, 0.05, 1.0))


def energy_of(profile: CostProfile) -> float:
    return 1e-5 * profile.training_flops + 0.5 * profile.num_kernels + 3.0


@pytest.fixture(scope="module")
def objective(space: SearchSpace) -> Objective:
    def evaluate(trial: Trial) -> tuple[float, ...]:
        params = space.sample(trial)
        profile = profile_of(space, params)
        return accuracy_of(profile, params), energy_of(profile)

    return evaluate


def sampler(space: SearchSpace, seed: int = 0, **settings: Any) -> GreenSampler:
    given = {"input_shape": SHAPE, "num_classes": CLASSES, "batch_size": BATCH, "pool": 40, "initial": 4} | settings
    return GreenSampler(space, seed=seed, **given)


def run(sampler: optuna.samplers.BaseSampler, objective: Any, trials: int) -> optuna.Study:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


def ids(space: SearchSpace, trials: Iterable[Any]) -> list[str]:
    """Canonical ids of the networks of trials."""
    return [space.architecture(space.sample(optuna.trial.FixedTrial(trial.params))).id for trial in trials]


def test_the_same_seed_proposes_the_same_networks(space: SearchSpace, objective: Objective) -> None:
    first, second = (run(sampler(space, seed=3), objective, 9) for _ in range(2))
    other = run(sampler(space, seed=4), objective, 9)
    assert [t.params for t in first.trials] == [t.params for t in second.trials]
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


def test_a_fresh_sampler_goes_on_as_the_first_would_have(space: SearchSpace, objective: Objective) -> None:
    whole = run(sampler(space), objective, 8)
    cut = run(sampler(space), objective, 6)
    cut.sampler = sampler(space)
    cut.optimize(objective, n_trials=2)
    assert [t.params for t in cut.trials] == [t.params for t in whole.trials]


def test_no_network_is_proposed_twice(space: SearchSpace, objective: Objective) -> None:
    study = run(sampler(space), objective, 20)
    assert len(set(ids(space, study.trials))) == 20


def test_a_space_is_proposed_to_its_end(small_space: str) -> None:
    space = load_space(small_space)

    def objective(trial: Trial) -> tuple[float, float]:
        params = space.sample(trial)
        return params["first"] / 30, float(params["first"] * params["second"])

    study = run(sampler(space, initial=20), objective, 36)
    assert len(set(ids(space, study.trials))) == 36
    with pytest.raises(ExhaustedError, match="nothing is left to search"):
        study.optimize(objective, n_trials=1)


def test_the_initial_design_is_spread_over_energy_the_cheapest_first(space: SearchSpace, objective: Objective) -> None:
    study = run(sampler(space, initial=5, pool=200), objective, 5)
    logs = np.log([trial.values[1] for trial in study.trials])
    assert list(logs) == sorted(logs)
    pool = [energy_of(candidate.profile) for candidate in fresh(space, 200)]
    assert np.exp(logs[0]) <= np.quantile(pool, 0.05)
    assert np.quantile(pool, 0.35) <= np.exp(logs[-1]) <= np.quantile(pool, 0.65)  # dear ones would tell no more
    even = np.linspace(logs[0], logs[-1], 5)
    assert (np.abs(logs - even) < 0.6 * np.diff(even)[0]).all()  # about equal ratios, by the predicted energy


def test_of_equal_energies_the_initial_design_takes_what_computes_most_for_each_byte(space: SearchSpace) -> None:
    def energy(profile: CostProfile) -> float:
        return float(physical_score(physical_terms([profile]), PRIOR_PRICES["cuda"])[0])

    def intensity(profile: CostProfile) -> float:
        return profile.total_flops / profile.activation_bytes

    def evaluate(trial: Trial) -> tuple[float, float]:
        return 0.5, energy(profile_of(space, space.sample(trial)))

    study = run(sampler(space, pool=200), evaluate, 4)
    pool = [candidate.profile for candidate in fresh(space, 200)]
    for trial in study.trials[1:]:
        chosen = profile_of(space, space.sample(optuna.trial.FixedTrial(trial.params)))
        alike = [intensity(other) for other in pool if abs(np.log(energy(other) / energy(chosen))) < 0.1]
        assert len(alike) > 5
        assert intensity(chosen) >= np.quantile(alike, 0.8)


@pytest.mark.parametrize("name", ["mobilenet", "nasbench101"])
def test_the_initial_design_knows_the_device_and_learns_what_it_does_not(name: str) -> None:
    space = load_space(name)
    images: dict[str, Any] = {"input_shape": (1, 28, 28), "batch_size": 64, "pool": 200, "initial": 6}

    def evaluate(trial: Trial) -> tuple[float, float]:
        profile = space.profile(space.sample(trial), (1, 28, 28), CLASSES, 64)
        return 0.5, float(physical_score(physical_terms([profile]), PRIOR_PRICES["cpu"])[0])

    known, learnt = (
        np.array([trial.values[1] for trial in run(sampler(space, **images, **how), evaluate, 6).trials])
        for how in ({"device_type": "cpu"}, {"device_type": "cuda"})
    )
    assert (np.diff(known) > 0).all()
    assert known.sum() < 0.9 * learnt.sum()
    assert learnt[-1] < 1.6 * known[-1]  # both should be the median, and five trainings have told the price of a FLOP


def fresh(space: SearchSpace, size: int) -> list[Candidate]:
    from greennas.sampler.candidates import CandidateFactory

    return CandidateFactory(space, SHAPE, CLASSES, BATCH).pool(size, 0, 9, [], [])


def test_what_is_pending_is_not_proposed_again(space: SearchSpace, objective: Objective) -> None:
    study = run(sampler(space), objective, 6)
    pending = []
    for _ in range(6):
        trial = study.ask()
        space.sample(trial)
        pending.append(trial)
    assert len(set(ids(space, study.trials))) == 12
    assert {t.state for t in study.trials[6:]} == {TrialState.RUNNING}
    study.tell(pending[0], objective(pending[0]))
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 7


def test_failed_and_stopped_trials_are_not_proposed_again(space: SearchSpace, objective: Objective) -> None:
    def failing(trial: Trial) -> tuple[float, ...]:
        values = objective(trial)
        if trial.number % 3 == 1:
            raise optuna.TrialPruned
        if trial.number % 3 == 2:
            raise RuntimeError("lost")
        return values

    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(space))
    study.optimize(failing, n_trials=15, catch=RuntimeError)
    assert len(set(ids(space, study.trials))) == 15


def test_an_interrupted_network_may_be_proposed_again(small_space: str) -> None:
    space = load_space(small_space)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(space))
    for _ in range(36):
        trial = study.ask()
        space.sample(trial)
        trial.set_user_attr("interrupted", True)
        study.tell(trial, state=TrialState.FAIL)
    assert space.sample(study.ask())


def test_a_search_without_any_success_goes_on_at_random(space: SearchSpace) -> None:
    def failing(trial: Trial) -> tuple[float, ...]:
        space.sample(trial)
        raise RuntimeError("always")

    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(space))
    study.optimize(failing, n_trials=10, catch=RuntimeError)
    assert len(set(ids(space, study.trials))) == 10


def test_three_objectives(space: SearchSpace, objective: Objective) -> None:
    def three(trial: Trial) -> tuple[float, ...]:
        params = space.sample(trial)
        profile = profile_of(space, params)
        return accuracy_of(profile, params), float(profile.parameters), 0.01 * profile.num_kernels

    names = ["accuracy", "parameters", "latency_ms"]
    study = optuna.create_study(
        directions=["maximize", "minimize", "minimize"], sampler=sampler(space, objectives=names)
    )
    study.optimize(three, n_trials=12)
    assert len(set(ids(space, study.trials))) == 12
    assert study.best_trials


def test_parameters_of_ones_own_are_drawn_too(space: SearchSpace, objective: Objective) -> None:
    def tuned(trial: Trial) -> tuple[float, ...]:
        trial.suggest_float("learning rate", 1e-3, 1e-1, log=True)
        trial.suggest_categorical("optimizer", ["sgd", "adam"])
        return objective(trial)

    study = run(sampler(space), tuned, 12)
    rates = {trial.params["learning rate"] for trial in study.trials}
    assert len(rates) == 12
    assert all(1e-3 <= rate <= 1e-1 for rate in rates)
    assert {trial.params["optimizer"] for trial in study.trials} == {"sgd", "adam"}
    plain = run(sampler(space), objective, 12)
    assert ids(space, study.trials) == ids(space, plain.trials)  # the networks are chosen as without them


def test_what_a_user_enqueues_is_taken_and_learned_from(space: SearchSpace, objective: Objective) -> None:
    wanted = dict.fromkeys(["3<-0", "3<-1", "3<-2", "2<-0", "2<-1", "1<-0!"], "nor_conv_3x3")
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(space))
    study.enqueue_trial(wanted)
    study.optimize(objective, n_trials=8)
    assert study.trials[0].params == wanted
    assert len(set(ids(space, study.trials))) == 8


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize", "minimize"]])
def test_another_number_of_objectives_is_refused(space: SearchSpace, directions: list[str]) -> None:
    study = optuna.create_study(directions=directions, sampler=sampler(space))
    with pytest.raises(ConfigError, match=rf"has {len(directions)} objectives and GreenSampler was told 2"):
        study.ask()


def test_a_minimised_objective_that_is_not_positive_is_refused(space: SearchSpace, objective: Objective) -> None:
    with pytest.raises(ConfigError, match="train_energy_j has the value 0") as caught:
        run(sampler(space), lambda trial: (objective(trial)[0], 0.0), 6)
    assert not isinstance(caught.value, ExhaustedError)  # which ends a search as if all had been tried


def test_it_finds_more_hypervolume_than_random_search(space: SearchSpace, objective: Objective) -> None:
    candidates = fresh(space, 300)
    points = [(accuracy_of(c.profile, dict(c.architecture.params)), energy_of(c.profile)) for c in candidates]
    losses = as_losses(points)
    reference = losses.max(axis=0)
    green, random = [], []
    for seed in range(3):
        study = run(sampler(space, seed), objective, 16)
        green.append(hypervolume(as_losses([t.values for t in study.trials]), reference))
        study = run(optuna.samplers.RandomSampler(seed=seed), objective, 16)
        random.append(hypervolume(as_losses([t.values for t in study.trials]), reference))
    assert np.median(green) > np.median(random)


def as_losses(values: Sequence[Sequence[float]]) -> np.ndarray:
    accuracy, energy = np.array(values).T
    return np.column_stack([-accuracy, np.log(energy)])


# Probes.


def uneven(architecture_id: str) -> float:
    """A factor between 1/3 and 3 that nothing on paper tells."""
    return float(3 ** (int(architecture_id, 16) / 16**12 * 2 - 1))


@pytest.fixture(scope="module")
def surprising(space: SearchSpace) -> Objective:
    """Energies that cannot be predicted well, so that probes tell more."""

    def evaluate(trial: Trial) -> tuple[float, ...]:
        params = space.sample(trial)
        profile = profile_of(space, params)
        return accuracy_of(profile, params), energy_of(profile) * uneven(space.architecture(params).id)

    return evaluate


def test_what_is_predicted_worse_than_a_probe_tells_is_probed(
    space: SearchSpace, objective: Objective, surprising: Objective
) -> None:
    sizes: list[int] = []

    def probe(candidates: Sequence[Candidate]) -> list[Probe]:
        sizes.append(len(candidates))
        return [Probe(energy_of(c.profile) * uneven(c.id)) for c in candidates]

    run(sampler(space, probe=probe, shortlist=5), surprising, 9)
    assert len(sizes) == 5  # after each of the other choices than the 4 of the initial design
    assert max(sizes) == 5
    sizes.clear()
    run(sampler(space, probe=probe, shortlist=5), objective, 9)
    assert set(sizes) == {1}  # predictions are sure: one a choice, to learn how good probes are


def test_a_candidate_whose_probe_failed_is_never_chosen(space: SearchSpace, surprising: Objective) -> None:
    failed: set[str] = set()

    def probe(candidates: Sequence[Candidate]) -> list[Probe]:
        # All but the least promising fail, so that each choice differs from what it would have been.
        failed.update(candidate.id for candidate in candidates[:-1])
        return [*(Probe(failure="out of memory") for _ in candidates[:-1]), Probe(30.0)]

    first: list[str] = []
    chosen = sampler(space, probe=probe, shortlist=4)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=chosen)
    for number in range(10):
        before = set(failed)
        study.optimize(surprising, n_trials=1)
        (network,) = ids(space, study.trials[-1:])
        if number >= 4:
            assert network not in failed - before
            first.append(network)
    assert len(set(first)) == 6
    assert failed


def test_probes_change_the_choice_and_the_reason_is_told(space: SearchSpace, objective: Objective) -> None:
    strategy = sampler(space, shortlist=6)
    study = run(strategy, objective, 6)
    plain = strategy.choose(strategy.shortlist(study), study)
    assert plain.candidate.id not in {item.candidate.id for item in plain.screened}
    assert len(plain.screened) == 5
    assert all(item.reason for item in plain.screened)
    shortlist = strategy.shortlist(study)
    # The winner is probed at a thousand times, the others at what was predicted.
    dear = {plain.candidate.id: Probe(1000 * plain.predicted["train_energy_j"]["mean"])}
    other = strategy.choose(shortlist, study, dear)
    assert other.candidate.id != plain.candidate.id
    screened = {item.candidate.id: item for item in other.screened}[plain.candidate.id]
    assert screened.predicted["train_energy_j"]["mean"] > 2 * plain.predicted["train_energy_j"]["mean"]
    broken = strategy.choose(strategy.shortlist(study), study, {plain.candidate.id: Probe(failure="no gradient")})
    assert "its probe failed: no gradient" in {item.reason for item in broken.screened}


def test_a_probe_narrows_the_predicted_energy(space: SearchSpace, objective: Objective) -> None:
    strategy = sampler(space)
    study = run(strategy, objective, 8)
    before = strategy.choose(strategy.shortlist(study), study)
    probes = {c.id: Probe(energy_of(c.profile)) for c in strategy.shortlist(study).candidates}
    after = strategy.choose(strategy.shortlist(study), study, probes)
    predicted = {item.candidate.id: item.predicted for item in (before, *before.screened)}
    for item in (after, *after.screened):
        was, now = predicted[item.candidate.id]["train_energy_j"], item.predicted["train_energy_j"]
        assert now["high"] / now["low"] < was["high"] / was["low"]
        true = energy_of(item.candidate.profile)
        assert abs(np.log(now["mean"] / true)) <= abs(np.log(was["mean"] / true)) + 1e-9


def test_a_trial_that_was_enqueued_with_some_values_is_known_by_those_it_got(
    space: SearchSpace, objective: Objective
) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(space, initial=2))
    study.enqueue_trial({"3<-0": "nor_conv_3x3"})
    study.optimize(objective, n_trials=8)
    assert len(set(ids(space, study.trials))) == 8


def test_an_enqueued_network_that_cannot_be_made_ends_no_search(objective: Objective, space: SearchSpace) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(space, initial=2))
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, system_attrs={"fixed_params": {"3<-0": "?"}})
    study.add_trial(trial)
    study.optimize(objective, n_trials=4)
    assert len(study.best_trials) >= 1


def test_a_probe_of_nothing_is_no_energy(space: SearchSpace, objective: Objective) -> None:
    run(sampler(space, probe=lambda candidates: [Probe(0.0) for _ in candidates]), objective, 7)


def test_where_all_probes_fail_the_reason_says_so(space: SearchSpace, surprising: Objective) -> None:
    strategy = sampler(space, shortlist=3)
    study = run(strategy, surprising, 6)
    shortlist = strategy.shortlist(study)
    failed = {candidate.id: Probe(failure="out of memory") for candidate in shortlist.candidates}
    assert "every probe" in strategy.choose(shortlist, study, failed).reason
