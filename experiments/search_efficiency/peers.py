"""Other search strategies on the same problem. Each is a function of a recorder that evaluates until its budget ends.

All of them ask the space's own ``sample``, so that none ever proposes an invalid architecture, and a repeated
architecture costs nothing: a kinder setting than the published runs had. Those of other packages than Optuna are in
``packages.py``.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from genome import Genome
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState
from problem import OutOfBudgetError, Recorder

from greennas.pareto import hypervolume, is_non_dominated
from greennas.sampler.candidates import CandidateFactory, ReplayTrial

Method = Callable[[Recorder], None]
ASKS = 4  # Optuna's samplers propose known architectures again: so many asks a training, then they are stopped


def random_unique(run: Recorder) -> None:
    """Architectures of the table in random order: uniform over networks."""
    keys = list(run.problem.table.params)
    for i in np.random.default_rng(run.seed).permutation(len(keys)):
        run.evaluate(run.problem.table.params[keys[i]])


def random_encodings(run: Recorder) -> None:
    """The space's own random sampling: uniform over suggestions, so not over networks."""
    rng = np.random.default_rng(run.seed)
    for _ in range(ASKS * run.trials):
        run.evaluate(run.problem.space.sample(ReplayTrial(rng)))


def optuna_tpe(run: Recorder) -> None:
    """Optuna's multi-objective TPE with default settings."""
    _optuna(run, optuna.samplers.TPESampler(seed=run.seed))


def optuna_nsga2(run: Recorder) -> None:
    """Optuna's NSGA-II, population 20 (its default of 50 spends a third of these budgets at random)."""
    _optuna(run, optuna.samplers.NSGAIISampler(population_size=20, seed=run.seed))


def optuna_nsga2_flat(run: Recorder) -> None:
    """The same on a flat genome: of a conditional space NSGA-II crosses only what all trials were asked."""
    _optuna_flat(run, optuna.samplers.NSGAIISampler(population_size=20, seed=run.seed))


def optuna_nsga3(run: Recorder) -> None:
    """Optuna's NSGA-III, population 20, on a flat genome."""
    _optuna_flat(run, optuna.samplers.NSGAIIISampler(population_size=20, seed=run.seed))


def optuna_gp(run: Recorder) -> None:
    """Optuna's GPSampler (log expected hypervolume improvement) on a flat genome, told accuracy and log energy.

    Of a conditional space it would model only what all trials were asked. For a known architecture it gets a new one
    near it, see ``Genome.new``.
    """
    genome = Genome(run.problem.space)
    rng = np.random.default_rng(run.seed)
    choices: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(range(count)) for name, count in genome.names.items()
    }
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.GPSampler(seed=run.seed))
    for _ in range(run.trials):
        trial = study.ask(choices)
        genes = genome.new(list(trial.params.values()), run.ids, rng)
        accuracy, joules = run.evaluate(genome.decode(genes))
        params = dict(zip(choices, genes, strict=True))
        if params == trial.params:
            study.tell(trial, (accuracy, math.log(joules)))
        else:
            study.tell(trial, state=TrialState.PRUNED)
            values = [accuracy, math.log(joules)]
            study.add_trial(optuna.trial.create_trial(params=params, distributions=choices, values=values))


def _optuna_flat(run: Recorder, sampler: optuna.samplers.BaseSampler) -> None:
    genome = Genome(run.problem.space)

    def sample(trial: optuna.Trial) -> Any:
        return genome.decode([trial.suggest_categorical(name, range(count)) for name, count in genome.names.items()])

    _optuna(run, sampler, sample)


def _optuna(
    run: Recorder, sampler: optuna.samplers.BaseSampler, sample: Callable[[optuna.Trial], Any] | None = None
) -> None:
    """Known architectures are told as pruned: else TPE comes back to them for good. Missing ones fail."""
    sample = sample or run.problem.space.sample
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(ASKS * run.trials):
        trial = study.ask()
        params = sample(trial)
        if run.problem.space.architecture(params).id in run.ids:
            study.tell(trial, state=TrialState.PRUNED)
        elif run.has(params):
            study.tell(trial, run.evaluate(params))
        else:
            study.tell(trial, state=TrialState.FAIL)


def semoa(run: Recorder) -> None:
    """SEMOA, re-implemented from the paper (Bakhtiarifard et al. 2024): all non-dominated architectures are parents.

    Ten offspring a generation; a parent is an extreme point with probability 1/2, else drawn by linear ranking of
    its hypervolume contribution; an offspring changes each suggestion with probability 1 / number of suggestions.
    """
    rng = np.random.default_rng(run.seed)
    factory = CandidateFactory(
        run.problem.space, run.problem.input_shape, run.problem.num_classes, run.problem.batch_size
    )
    members: list[tuple[Any, float, float]] = []
    children = [factory.make(rng) for _ in range(10)]
    for _ in range(ASKS * run.trials):
        for child in children:
            accuracy, joules = run.evaluate(child.architecture.params)
            members.append((child, -accuracy, joules))
        losses = np.array([member[1:] for member in members])
        members = [member for member, keep in zip(members, is_non_dominated(losses), strict=True) if keep]
        members = list({member[0].id: member for member in members}.values())
        parents = _linear_rank_sample(members, 10, rng)
        children = [factory.make(rng, [p.suggestions], 1 / max(len(p.suggestions), 1)) for p in parents]


def _linear_rank_sample(members: list[tuple[Any, float, float]], count: int, rng: np.random.Generator) -> list[Any]:
    losses = np.array([member[1:] for member in members])
    order = np.argsort(losses[:, 1])
    interior = order[1:-1]
    if len(interior):
        reference = losses.max(axis=0) + 1e-9
        whole = hypervolume(losses, reference)
        shares = [whole - hypervolume(np.delete(losses, i, axis=0), reference) for i in interior]
        interior = interior[np.argsort(shares)]
    weights = np.arange(1, len(interior) + 1, dtype=float)
    chosen = []
    for _ in range(count):
        if not len(interior) or rng.random() < 0.5:
            chosen.append(members[int(order[0] if rng.random() < 0.5 else order[-1])][0])
        else:
            chosen.append(members[int(rng.choice(interior, p=weights / weights.sum()))][0])
    return chosen


def finish(method: Method, run: Recorder) -> Recorder:
    """Run a method to the end of its budget."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings(), contextlib.suppress(OutOfBudgetError):
        warnings.simplefilter("ignore")
        method(run)
    return run


PEERS: dict[str, Method] = {
    "random, unique architectures": random_unique,
    "random encodings": random_encodings,
    "Optuna TPE": optuna_tpe,
    "Optuna NSGA-II": optuna_nsga2,
    "Optuna NSGA-II, flat genome": optuna_nsga2_flat,
    "Optuna NSGA-III, flat genome": optuna_nsga3,
    "Optuna GPSampler, flat genome": optuna_gp,
    "SEMOA (re-implemented)": semoa,
}
