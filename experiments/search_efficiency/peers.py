"""Other search strategies on the same problem. Each is a function of a recorder that evaluates until its budget ends.

All of them ask the space's own ``sample``, so that none ever proposes an invalid architecture, and a repeated
architecture costs nothing: a kinder setting than the published runs had.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from problem import OutOfBudgetError, Recorder

from greennas.pareto import hypervolume, is_non_dominated
from greennas.sampler.candidates import CandidateFactory, ReplayTrial

Array = NDArray[np.float64]
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


def _optuna(run: Recorder, sampler: optuna.samplers.BaseSampler) -> None:
    """A known architecture is told as pruned: told with its values, TPE comes back to it for good."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(ASKS * run.trials):
        trial = study.ask()
        params = run.problem.space.sample(trial)
        if run.problem.space.architecture(params).id in run.ids:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, run.evaluate(params))


def semoa(run: Recorder) -> None:
    """SEMOA, re-implemented from the paper (Bakhtiarifard et al. 2024): all non-dominated architectures are parents.

    Ten offspring a generation; a parent is an extreme point with probability 1/2, else drawn by linear ranking of
    its hypervolume contribution; an offspring changes each suggestion with probability 1 / number of suggestions.
    """
    rng = np.random.default_rng(run.seed)
    factory = CandidateFactory(run.problem.space, (3, 32, 32), 10, run.problem.batch_size)
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


class _Genome:
    """A space as a fixed number of integers, one for each suggestion that ``sample`` may make."""

    LEVELS = 10

    def __init__(self, run: Recorder) -> None:
        self._space = run.problem.space
        rng = np.random.default_rng(0)
        self.names: dict[str, int] = {}
        for _ in range(500):
            trial = ReplayTrial(rng)
            self._space.sample(trial)
            for name, distribution in trial.distributions.items():
                categorical = isinstance(distribution, CategoricalDistribution)
                self.names[name] = len(distribution.choices) if categorical else self.LEVELS

    def decode(self, genes: Array) -> Any:
        """Parameters of a genome."""
        values = dict(zip(self.names, genes, strict=True))
        trial = ReplayTrial(np.random.default_rng(0))

        def pick(name: str, distribution: Any) -> Any:
            level = int(values.get(name, 0))
            if isinstance(distribution, CategoricalDistribution):
                chosen = distribution.choices[level % len(distribution.choices)]
            else:
                span = distribution.high - distribution.low
                chosen = type(distribution.low)(distribution.low + span * level / (self.LEVELS - 1))
            trial.params[name], trial.distributions[name] = chosen, distribution
            return chosen

        trial._suggest = pick  # type: ignore[method-assign]
        return self._space.sample(trial)


def pymoo_nsga2(run: Recorder) -> None:
    """pymoo's NSGA-II on integers, population 20."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    genome = _Genome(run)
    upper = np.array(list(genome.names.values())) - 1

    class _Search(ElementwiseProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=len(upper), n_obj=2, xl=0, xu=upper, vtype=int)

        def _evaluate(self, x: Array, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            accuracy, joules = run.evaluate(genome.decode(x))
            out["F"] = [-accuracy, joules]

    algorithm = NSGA2(
        pop_size=20,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
    )
    minimize(_Search(), algorithm, ("n_gen", ASKS * run.trials // 20), seed=run.seed)


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
    "pymoo NSGA-II": pymoo_nsga2,
    "SEMOA (re-implemented)": semoa,
}
if importlib.util.find_spec("pymoo") is None:
    del PEERS["pymoo NSGA-II"]
