"""Optuna's own samplers as the strategy of a search, with or without GreenNAS's screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from greennas.errors import ConfigError
from greennas.sampler.candidates import Candidate
from greennas.sampler.green import GreenSampler
from greennas.sampler.history import History
from greennas.sampler.proposal import Shortlist
from greennas.space import SearchSpace

POPULATION = 20
PROPOSALS = 32  # candidates that Optuna proposes for the screen to choose from
_ASKS = 20  # proposals in a row that are all known: the sampler has stalled

_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=POPULATION),
    "random": lambda seed: RandomSampler(seed=seed),
}


class MirroredSampler(GreenSampler):
    """Proposals of an Optuna sampler; the screen, if wanted, chooses among several of them.

    The sampler works on a mirror of the study in memory, so that what is only proposed never reaches the study.
    Known architectures are not proposed again: the sampler is told their values, or that they were pruned.

    Args:
        space: the search space.
        objectives: metric of each objective.
        name: ``tpe``, ``nsga2`` or ``random``.
        screen: whether predictions choose among several proposals; without, each proposal is trained.
        seed: as for ``GreenSampler``.
        options: further arguments of ``GreenSampler``.
    """

    def __init__(
        self, space: SearchSpace, objectives: Sequence[str], *, name: str, screen: bool, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(space, objectives, seed=seed, **options)
        self._space = space
        self._name = name
        self._screened = screen
        self._drawn: list[Candidate] = []

    def shortlist(self, study: optuna.Study) -> Shortlist:
        """Ask Optuna's sampler, then screen what it proposes.

        Raises:
            ConfigError: nothing new is proposed any more.
        """
        history = self._reader.read(study)
        self._drawn = self._draw(study, history, PROPOSALS if self._screened else 1)
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
            trial = mirror.ask()
            params = self._space.sample(trial)
            architecture_id = self._space.architecture(params).id
            if architecture_id in known:
                mirror.tell(trial, known[architecture_id])
            elif architecture_id in history.tried or architecture_id in found:
                mirror.tell(trial, state=TrialState.PRUNED)
            else:
                found[architecture_id] = self._factory.replay(trial.params)
                misses = -1  # stays RUNNING, which the sampler knows to avoid
            misses += 1
        if not found:
            raise ConfigError(f"Optuna's {self._name} sampler proposes nothing new any more; take --sampler green.")
        return list(found.values())

    def _mirror(self, study: optuna.Study, history: History) -> optuna.Study:
        """The study's finished trials, in memory; a function of the study, so that a resumed search goes on alike."""
        sampler = _SAMPLERS[self._name](self._seed * 100_003 + history.started)
        mirror = optuna.create_study(directions=study.directions, sampler=sampler)
        for i, (candidate, values) in enumerate(zip(history.measured, history.values, strict=True)):
            # Evolution counts in generations, which Optuna keeps with each trial.
            generation = {NSGAIISampler._get_generation_key(): i // POPULATION} if self._name == "nsga2" else {}
            mirror.add_trial(
                create_trial(
                    params=dict(candidate.suggestions),
                    distributions=dict(candidate.distributions),
                    values=values,
                    system_attrs=generation,
                )
            )
        return mirror
