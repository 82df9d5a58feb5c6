"""GreenSampler on a problem: as it is, and with a part of it taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import optuna
from knowable import knowable
from numpy.typing import NDArray
from optuna.trial import TrialState
from peers import ASKS, Method
from problem import Recorder

from greennas.executors.tabular import PROBE_NOISE, PROBE_SHARE
from greennas.predictors import AccuracyPredictor, EnergyPredictor
from greennas.predictors.spread import choose_spread
from greennas.sampler import Candidate, GreenSampler, Probe, Shortlist
from greennas.sampler.candidates import feature_table
from greennas.sampler.history import History
from greennas.sampler.losses import Scale

Array = NDArray[np.float64]
_PROFILED = 20  # networks of a device profile, as ``greennas calibrate`` measures without options
_PROFILE_POOL = 1000


def green(
    run: Recorder, probed: int | None = None, sampler: type[GreenSampler] = GreenSampler, **options: object
) -> None:
    """GreenSampler with a probe of the shortlist; ``probed`` 0 for none."""

    def probe(candidates: Sequence[Candidate]) -> list[Probe]:
        count = len(candidates) if probed is None else probed
        return [*map(measured, candidates[:count]), *(Probe() for _ in candidates[count:])]

    def measured(candidate: Candidate) -> Probe:
        if not run.has(candidate.architecture.params):
            return Probe(failure="the table does not have it")
        return Probe(run.probe(candidate.architecture.params, PROBE_NOISE, PROBE_SHARE))

    strategy = sampler(
        run.problem.space,
        seed=run.seed,
        input_shape=run.problem.input_shape,
        num_classes=run.problem.num_classes,
        batch_size=run.problem.batch_size,
        device_type=run.problem.device_type,
        probe=None if probed == 0 else probe,
        **options,  # type: ignore[arg-type]
    )
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=strategy)
    for _ in range(ASKS * run.trials):
        trial = study.ask()
        params = run.problem.space.sample(trial)
        if run.has(params):
            study.tell(trial, run.train(params))
        else:
            study.tell(trial, state=TrialState.FAIL)


def profiled(run: Recorder, noise: float, share: float) -> None:
    """A device profile first: energies of 20 networks spread over the space, under ``noise``, for a share of each."""
    space, known = run.problem.space, run.problem.table.params
    rng = np.random.default_rng([run.seed, 11])
    drawn = [known[key] for key in rng.permutation(sorted(known))[:_PROFILE_POOL]]
    shape, classes, batch = run.problem.input_shape, run.problem.num_classes, run.problem.batch_size
    costs = [space.profile(params, shape, classes, batch) for params in drawn]
    chosen = choose_spread(costs, _PROFILED, run.seed)
    joules = [run.probe(drawn[i], noise, share) for i in chosen]
    green(run, priors={"train_energy_j": EnergyPredictor().fit([costs[i] for i in chosen], joules)})


class NoAccuracy(GreenSampler):
    """Knows of all networks' accuracy only what the measured ones have on average."""

    def _predict(self, history: History, scales: Sequence[Scale], pool: Sequence[Candidate]) -> tuple[Array, Array]:
        mean, deviation = super()._predict(history, scales, pool)
        seen = self._losses(history, scales)[:, 0]
        mean[:, 0], deviation[:, 0] = seen.mean(), max(float(seen.std()), 1e-3)
        return mean, deviation


class NoPhysics(GreenSampler):
    """Predicts energy from the suggestions alone, by the same models as accuracy; starts with random networks."""

    def _predict(self, history: History, scales: Sequence[Scale], pool: Sequence[Candidate]) -> tuple[Array, Array]:
        mean, deviation = super()._predict(history, scales, pool)
        seen = self._losses(history, scales)[:, 1]
        features = feature_table([*history.measured, *pool])[:, : -len(pool[0].costs)]
        predictor = AccuracyPredictor().fit(features[: len(seen)], seen)
        energy, spread = predictor.predict(features[len(seen) :])
        mean[:, 1] = mean[:, 2] = energy
        deviation[:, 1] = deviation[:, 2] = np.hypot(spread, predictor.noise_std)
        return mean, deviation

    def _design_step(self, history: History, rng: np.random.Generator) -> Shortlist:
        step = super()._design_step(history, rng)
        drawn = self._factory.make(rng)
        return replace(step, candidates=[drawn]) if drawn.id not in history.tried else step


class ScreeningOnly(NoAccuracy):
    """Random proposals, of which the predicted energy chooses."""

    def _parents(self, history: History, losses: Array, feasible: NDArray[np.bool_]) -> list[Candidate]:
        return []


class EnergyAlone(GreenSampler):
    """Its initial design does not look at FLOPs and bytes of networks of about the same energy."""

    _alike = 0.0


class Knowing(GreenSampler):
    """Is told what can be known of accuracies; set ``told`` first."""

    told: Mapping[str, tuple[float, float]]

    def _predict(self, history: History, scales: Sequence[Scale], pool: Sequence[Candidate]) -> tuple[Array, Array]:
        mean, deviation = super()._predict(history, scales, pool)
        missing = max(self.told.values())[0], 0.0  # what a table does not have is known to be nothing
        for i, candidate in enumerate(pool):
            mean[i, 0], deviation[i, 0] = self.told.get(candidate.id, missing)
        return mean, deviation


def knowing(run: Recorder) -> None:
    """What a perfect predictor of accuracy would save: it has seen nine tenths of the table's trainings."""
    green(run, sampler=type("Told", (Knowing,), {"told": knowable(run.problem).told}))


OURS: dict[str, Method] = {
    "GreenNAS": green,
    "GreenNAS, knows what can be known": knowing,
    "GreenNAS, device profile from 20 trainings": lambda run: profiled(run, noise=0.0, share=1.0),
    "GreenNAS, device profile from 20 probes": lambda run: profiled(run, PROBE_NOISE, PROBE_SHARE),
    "GreenNAS, no probe": lambda run: green(run, probed=0),
    "GreenNAS, no accuracy prediction": lambda run: green(run, sampler=NoAccuracy),
    "GreenNAS, no physics in the energy prediction": lambda run: green(run, sampler=NoPhysics),
    "GreenNAS, initial design by energy alone": lambda run: green(run, sampler=EnergyAlone),
    "GreenNAS, screening only": lambda run: green(run, sampler=ScreeningOnly),
}
