"""Optuna's own samplers as the strategy of a search, with or without GreenNAS's screen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState, create_trial

from greennas.errors import ExhaustedError
from greennas.sampler.candidates import Candidate, ReplayTrial
from greennas.sampler.green import GreenSampler
from greennas.sampler.history import History
from greennas.sampler.proposal import Shortlist
from greennas.space import SearchSpace

POPULATION = 20
_STEPS = 200  # looks at random networks
_ASKS = 20  # proposals in a row that are all known: the sampler has stalled


@dataclass(frozen=True)
class _Kind:
    """One of Optuna's samplers.

    Attributes:
        make: the sampler of a seed.
        proposals: how many it proposes for the screen to choose from; fewer where each costs much.
        flat: it only models parameters that all trials have, so that it is given a value for each of them.
        generation: key under which Optuna keeps a trial's generation, of samplers that count in generations.
    """

    make: Callable[[int], BaseSampler]
    proposals: int = 32
    flat: bool = False
    generation: str | None = None


_KINDS = {
    "tpe": _Kind(lambda seed: TPESampler(seed=seed)),
    "nsga2": _Kind(
        lambda seed: NSGAIISampler(seed=seed, population_size=POPULATION),
        generation=NSGAIISampler._get_generation_key(),
    ),
    "nsga3": _Kind(
        lambda seed: NSGAIIISampler(seed=seed, population_size=POPULATION),
        generation=NSGAIIISampler._get_generation_key(),
    ),
    "gp": _Kind(lambda seed: GPSampler(seed=seed), proposals=8, flat=True),
    "random": _Kind(lambda seed: RandomSampler(seed=seed)),
}


class MirroredSampler(GreenSampler):
    """Proposals of an Optuna sampler; the screen, if wanted, chooses among several of them.

    The sampler works on a mirror of the study in memory, so that what is only proposed never reaches the study.
    Known architectures are not proposed again: the sampler is told their values, or that they were pruned.

    Args:
        space: the search space.
        objectives: metric of each objective.
        name: ``tpe``, ``nsga2``, ``nsga3``, ``gp`` or ``random``.
        screen: whether predictions choose among several proposals; without, each proposal is trained.
        seed: as for ``GreenSampler``.
        options: further arguments of ``GreenSampler``.
    """

    def __init__(
        self, space: SearchSpace, objectives: Sequence[str], *, name: str, screen: bool, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(space, objectives, seed=seed, **options)
        self._space = space
        self._name, self._kind = name, _KINDS[name]
        self._screened = screen
        self._drawn: list[Candidate] = []

    def shortlist(self, study: optuna.Study) -> Shortlist:
        """Ask Optuna's sampler, then screen what it proposes.

        Raises:
            ExhaustedError: nothing new is proposed any more.
        """
        history = self._reader.read(study)
        self._drawn = self._draw(study, history, self._kind.proposals if self._screened else 1)
        if self._screened:
            return super().shortlist(study)
        empty = np.zeros((0, len(self._objectives)))
        none, reason = np.zeros((1, 0)), f"proposed by Optuna's {self._name} sampler"
        return Shortlist(self._drawn, none, none, empty, np.zeros(0), 1, design=reason)

    def _proposed(self, history: History, parents: list[Candidate], step: int | None = None) -> list[Candidate]:
        return [c for c in self._drawn if c.profile.parameters <= self._most_parameters] or self._drawn

    def _draw(self, study: optuna.Study, history: History, count: int) -> list[Candidate]:
        mirror = self._mirror(study, history)
        known = dict(zip((candidate.id for candidate in history.measured), history.values, strict=True))
        found: dict[str, Candidate] = {}
        misses = 0
        while len(found) < count and misses < _ASKS * (1 if found else 10):
            trial, candidate = self._ask(mirror, history.tried | found.keys())
            if candidate.id in known:
                mirror.tell(trial, known[candidate.id])
            elif candidate.id in history.tried or candidate.id in found:
                mirror.tell(trial, state=TrialState.PRUNED)
            else:
                found[candidate.id] = candidate
                misses = -1  # stays RUNNING, which the sampler knows to avoid
            misses += 1
        if not found:
            raise ExhaustedError(f"Optuna's {self._name} sampler proposes nothing new any more; take --sampler green.")
        return list(found.values())

    def _ask(self, mirror: optuna.Study, tried: Container[str]) -> tuple[Trial, Candidate]:
        if not self._kind.flat:
            trial = mirror.ask()
            self._space.sample(trial)
            return trial, self._factory.replay(trial.params)
        trial = mirror.ask(self._genome)
        candidate = self._factory.replay(trial.params)
        # The sampler asks for its best network again and again: a random walk from there finds the next new one.
        rng = np.random.default_rng([self._seed, trial.number])
        for _ in range(_STEPS):
            if candidate.id not in tried:
                break
            candidate = self._factory.make(rng, [candidate.suggestions], 1 / max(len(candidate.suggestions), 1))
        return trial, candidate

    @cached_property
    def _genome(self) -> dict[str, BaseDistribution]:
        """A gene for each question that the space may ask: a flat sampler needs values of all of them."""
        rng = np.random.default_rng(0)
        genes: dict[str, BaseDistribution] = {}
        for _ in range(_STEPS):
            trial = ReplayTrial(rng)
            self._space.sample(trial)
            genes |= {name: known for name, known in trial.distributions.items() if name not in genes}
        return genes

    def _genes(self, suggestions: Mapping[str, Any]) -> dict[str, Any]:
        """Values of all genes; of one that a network was not asked, or asked otherwise, always the same."""
        trial = ReplayTrial(np.random.default_rng(0), [suggestions])
        return {name: trial._suggest(name, gene) for name, gene in self._genome.items()}

    def _mirror(self, study: optuna.Study, history: History) -> optuna.Study:
        """The study's finished trials, in memory; a function of the study, so that a resumed search goes on alike."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = self._kind.make((self._seed * 100_003 + history.started) % 2**32)
        mirror = optuna.create_study(directions=study.directions, sampler=sampler)
        for i, (candidate, values) in enumerate(zip(history.measured, history.values, strict=True)):
            generation = {self._kind.generation: i // POPULATION} if self._kind.generation else {}
            params, distributions = candidate.suggestions, candidate.distributions
            if self._kind.flat:
                params, distributions = self._genes(params), self._genome
            mirror.add_trial(
                create_trial(
                    params=dict(params), distributions=dict(distributions), values=values, system_attrs=generation
                )
            )
        return mirror
