"""Candidates: architectures proposed by replaying a space's ``sample`` with chosen, inherited or random values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from greennas.architecture import Architecture
from greennas.profile import CostProfile
from greennas.space import InputShape, SearchSpace

_NOTHING: Any = object()
"""Stands for no value, since None may be one."""


class ReplayTrial:
    """Stand-in for an Optuna trial that answers ``suggest_*`` from parents, else at random.

    A define-by-run space is mutated and crossed over without knowing its structure: each suggestion takes a
    parent's value where the parent has a fitting one, and a random value otherwise.

    Args:
        rng: source of randomness.
        parents: suggested values of one or more parents; each suggestion picks one of them.
        mutation_rate: probability that a suggestion ignores the parents.
    """

    def __init__(
        self, rng: np.random.Generator, parents: Sequence[Mapping[str, Any]] = (), mutation_rate: float = 0.0
    ) -> None:
        self._rng = rng
        self._parents = parents
        self._mutation_rate = mutation_rate
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of ``choices``."""
        choices = tuple(choices)
        return self._suggest(name, _categorical(choices, tuple(map(type, choices))))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """An integer in [low, high]."""
        return int(self._suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number in [low, high]."""
        return float(self._suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            value = self._inherited(name, distribution)
            self.params[name] = random_value(distribution, self._rng) if value is _NOTHING else value
            self.distributions[name] = distribution
        return self.params[name]

    def _inherited(self, name: str, distribution: BaseDistribution) -> Any:
        if not self._parents or self._rng.random() < self._mutation_rate:
            return _NOTHING
        value = self._parents[int(self._rng.integers(len(self._parents)))].get(name, _NOTHING)
        try:
            internal = distribution.to_internal_repr(value)
        except ValueError:  # of another type, or none of the choices
            return _NOTHING
        return distribution.to_external_repr(internal) if distribution._contains(internal) else _NOTHING


@lru_cache(maxsize=4096)
def _categorical(choices: tuple[Any, ...], types: tuple[type, ...]) -> CategoricalDistribution:
    """``types`` tell (0, 1) and (False, True) apart, which are equal keys of the cache."""
    return CategoricalDistribution(choices)


def random_value(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """A value drawn uniformly from ``distribution`` (uniformly in the logarithm where it is a log scale)."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(rng.integers(len(distribution.choices)))]
    if isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        if distribution.log:
            return min(high, int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))))
        return low + step * int(rng.integers((high - low) // step + 1))
    assert isinstance(distribution, FloatDistribution)
    if distribution.log:
        return math.exp(rng.uniform(math.log(distribution.low), math.log(distribution.high)))
    if distribution.step is not None:
        steps = int((distribution.high - distribution.low) / distribution.step + 1e-9)
        return distribution.low + distribution.step * int(rng.integers(steps + 1))
    return float(rng.uniform(distribution.low, distribution.high))


@dataclass(frozen=True)
class Candidate:
    """An architecture that may be trained.

    Attributes:
        suggestions: the values of the ``suggest_*`` calls, with which a trial repeats it.
        distributions: where each suggestion came from.
        architecture: the network.
        profile: its cost on paper.
        origin: ``fresh``, ``mutation``, ``crossover`` or ``given``.
    """

    suggestions: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    architecture: Architecture
    profile: CostProfile
    origin: str

    @property
    def id(self) -> str:
        """The architecture's canonical id."""
        return self.architecture.id

    @cached_property
    def coordinates(self) -> dict[str, float]:
        """Suggestions as numbers: one-hot for categories, [0, 1] for numbers."""
        numbers: dict[str, float] = {}
        for name, value in self.suggestions.items():
            distribution = self.distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                numbers[f"{name}={value}"] = 1.0
            elif isinstance(distribution, IntDistribution | FloatDistribution):
                span = float(distribution.high - distribution.low) or 1.0
                numbers[name] = (float(value) - float(distribution.low)) / span
        return numbers

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """Logarithms of the cost features."""
        return np.asarray(np.log1p(self.profile.features()))


def feature_table(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Features for the accuracy predictor, shape ``(n, d)``: suggestions beside the log cost features."""
    names = {name: i for i, name in enumerate(sorted({n for c in candidates for n in c.coordinates}))}
    table = np.zeros((len(candidates), len(names)))
    for row, candidate in zip(table, candidates, strict=True):
        for name, value in candidate.coordinates.items():
            row[names[name]] = value
    return np.hstack([table, np.stack([candidate.costs for candidate in candidates])])


class CandidateFactory:
    """Makes candidates of one space for one shape of images; remembers profiles by architecture.

    Args:
        space: the search space.
        input_shape: channels, height, width.
        num_classes: number of classes.
        batch_size: training batch size that the profiles are for.
    """

    def __init__(self, space: SearchSpace, input_shape: InputShape, num_classes: int, batch_size: int) -> None:
        self._space = space
        self._shape = input_shape
        self._classes = num_classes
        self._batch = batch_size
        self._profiles: dict[str, CostProfile] = {}
        self._warned = False

    def make(
        self, rng: np.random.Generator, parents: Sequence[Mapping[str, Any]] = (), mutation_rate: float = 0.0
    ) -> Candidate:
        """One candidate: a child of ``parents``, or a fresh one."""
        trial = ReplayTrial(rng, parents, mutation_rate)
        params = self._space.sample(trial)
        origin = "fresh" if not parents else "mutation" if len(parents) == 1 else "crossover"
        return self._candidate(params, trial, origin)

    def replay(self, suggestions: Mapping[str, Any]) -> Candidate:
        """The candidate of given suggestions; what they do not say is drawn with a fixed seed."""
        trial = ReplayTrial(np.random.default_rng(0), [suggestions])
        return self._candidate(self._space.sample(trial), trial, "given")

    def pool(
        self,
        size: int,
        rng: np.random.Generator,
        parents: Sequence[Candidate],
        excluded: Iterable[str],
    ) -> list[Candidate]:
        """Up to ``size`` distinct candidates: half of them around ``parents``, the others fresh.

        Networks that cannot be built or profiled are left out; the first of them gives a warning.

        Args:
            size: how many.
            rng: source of randomness.
            parents: candidates to mutate and cross over; with none, all are fresh.
            excluded: ids that must not be proposed again.
        """
        seen = set(excluded)
        found: list[Candidate] = []
        attempts = 0
        # A small or nearly exhausted space yields fewer than asked for: the attempts are bounded.
        while len(found) < size and attempts < 4 * size:
            around, attempts = attempts % 2 == 0, attempts + 1
            try:
                candidate = self._next(rng, parents, around)
            except Exception as error:  # one network of a user's space that cannot be built must not end a search
                self._leave_out(error)
                continue
            if candidate.id not in seen:
                seen.add(candidate.id)
                found.append(candidate)
        return found

    def _leave_out(self, error: Exception) -> None:
        if not self._warned:
            warnings.warn(
                f"A network of the search space {self._space.name} cannot be made; it and others like it are left out, "
                f"so let sample suggest only what build can make. The error was: {type(error).__name__}: {error}",
                stacklevel=3,
            )
        self._warned = True

    def _next(self, rng: np.random.Generator, parents: Sequence[Candidate], around: bool) -> Candidate:
        if not parents or not around:
            return self.make(rng)
        first = parents[int(rng.integers(len(parents)))].suggestions
        # One to two changes a child on average, as in regularised evolution; a third of the children cross over.
        rate = float(rng.choice([1.0, 2.0])) / max(len(first), 1)
        if len(parents) > 1 and rng.random() < 1 / 3:
            return self.make(rng, [first, parents[int(rng.integers(len(parents)))].suggestions], rate / 2)
        return self.make(rng, [first], rate)

    def _candidate(self, params: Mapping[str, Any], trial: ReplayTrial, origin: str) -> Candidate:
        architecture = self._space.architecture(params)
        profile = self._profiles.get(architecture.id)
        if profile is None:
            profile = self._space.profile(params, self._shape, self._classes, self._batch)
            self._profiles[architecture.id] = profile
        return Candidate(trial.params, trial.distributions, architecture, profile, origin)
