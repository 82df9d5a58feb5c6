"""Search strategies of other packages, each where it is installed: pymoo, syne-tune and NePS, all on a flat genome."""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from genome import Genome
from peers import ASKS, Method
from problem import Array, Recorder

from greennas.tabular.table import JOULES

POPULATION = 20


def pymoo_nsga2(run: Recorder) -> None:
    """pymoo's NSGA-II on integers, population 20."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    genome = Genome(run.problem.space)
    upper = np.array(list(genome.names.values())) - 1

    class _Search(ElementwiseProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=len(upper), n_obj=2, xl=0, xu=upper, vtype=int)

        def _evaluate(self, x: Array, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            accuracy, joules = run.evaluate(genome.decode([int(gene) for gene in x]))
            out["F"] = [-accuracy, joules]

    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
    )
    minimize(_Search(), algorithm, ("n_gen", ASKS * run.trials // POPULATION), seed=run.seed)


def syne_tune_evolution(run: Recorder) -> None:
    """syne-tune's multi-objective regularised evolution (non-dominated sorting), population 20."""
    from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

    genome = Genome(run.problem.space)
    space = _syne_tune_space(genome)
    searcher = MultiObjectiveRegularizedEvolution(space, [], population_size=POPULATION, random_seed=run.seed)
    for trial in range(ASKS * run.trials):
        config = searcher.suggest()
        accuracy, joules = run.evaluate(genome.decode(genes_of(config, genome)))
        searcher.on_trial_complete(trial, config, [1 - accuracy, joules])


def syne_tune_ehvi(run: Recorder) -> None:
    """syne-tune's expected hypervolume improvement, told error and log energy less the loose reference point.

    Its code has a reference point of -2 for each minimised objective; told as they are, no value would ever improve on
    it. So what it is told has the table's loose reference there: it knows the largest energy in advance.
    """
    from syne_tune.optimizer.schedulers.multiobjective.expected_hyper_volume_improvement import (
        ExpectedHyperVolumeImprovement,
    )

    genome = Genome(run.problem.space)
    space = _syne_tune_space(genome)
    np.random.seed(run.seed)  # its random configurations
    searcher = ExpectedHyperVolumeImprovement(space, [], random_seed=run.seed)
    worst_error, worst_log_kwh = _loose(run)
    rng = np.random.default_rng(run.seed)
    for trial in range(run.trials):
        proposed = searcher.suggest()
        genes = genome.new(genes_of(proposed, genome), run.ids, rng)
        config = dict(zip(_lettered(genome), genes, strict=True))
        searcher.trial_configs[trial] = config  # what is evaluated in place of a known one
        accuracy, joules = run.evaluate(genome.decode(genes))
        told = [1 - accuracy - worst_error - 2, _log_kwh(joules) - worst_log_kwh - 2]
        searcher.on_trial_complete(trial, config, told)


def neps_bo(run: Recorder) -> None:
    """NePS's Bayesian optimisation with noisy expected hypervolume improvement, told accuracy and -log energy.

    Of two objectives its code looks for large values, although it calls them objectives to minimise; so it is told
    values whose large ones are good, and the table's loose reference point, again known in advance.
    """
    import neps
    import torch

    genome = Genome(run.problem.space)
    torch.manual_seed(run.seed)
    np.random.seed(run.seed)
    space = neps.SearchSpace({name: neps.HPOCategorical(list(range(n))) for name, n in _lettered(genome).items()})
    worst_error, worst_log_kwh = _loose(run)
    optimizer = neps.algorithms.bayesian_optimization(
        space, initial_design_size=10, reference_point=(1 - worst_error, -worst_log_kwh)
    )
    search = neps.AskAndTell(optimizer)
    rng = np.random.default_rng(run.seed)
    for _ in range(run.trials):
        trial = search.ask()
        genes = genome.new(genes_of(trial.config, genome), run.ids, rng)
        trial.config.update(zip(_lettered(genome), genes, strict=True))  # in place of a known one
        accuracy, joules = run.evaluate(genome.decode(genes))
        search.tell(trial, {"objective_to_minimize": [accuracy, -_log_kwh(joules)]})


def _lettered(genome: Genome) -> dict[str, int]:
    """Genes under names that every package takes."""
    return {f"gene{i}": count for i, count in enumerate(genome.names.values())}


def genes_of(config: Mapping[str, int], genome: Genome) -> list[int]:
    """A configuration's genes in the genome's order; syne-tune's models return gene10 before gene2."""
    return [config[name] for name in _lettered(genome)]


def _syne_tune_space(genome: Genome) -> dict[str, Any]:
    from syne_tune.config_space import choice

    logging.getLogger("syne_tune").setLevel(logging.ERROR)
    return {name: choice(list(range(count))) for name, count in _lettered(genome).items()}


def _loose(run: Recorder) -> tuple[float, float]:
    error, kwh = run.problem.references["loose"]
    return float(error), math.log(kwh)


def _log_kwh(joules: float) -> float:
    return math.log(joules / JOULES["kwh"])


_ALL: dict[str, tuple[str, Method]] = {
    "pymoo NSGA-II": ("pymoo", pymoo_nsga2),
    "syne-tune regularised evolution": ("syne_tune", syne_tune_evolution),
    "syne-tune EHVI": ("syne_tune", syne_tune_ehvi),
    "NePS Bayesian optimisation": ("neps", neps_bo),
}
INSTALLED: dict[str, Method] = {
    name: method for name, (module, method) in _ALL.items() if importlib.util.find_spec(module) is not None
}
SLOW = {"syne-tune EHVI", "NePS Bayesian optimisation"}
"""Methods that take seconds a proposal."""
