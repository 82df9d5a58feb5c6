"""Candidates: architectures proposed by replaying a space's ``sample`` with chosen, inherited or random values."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from greennas.architecture import Architecture
from greennas.profile import CostProfile
from greennas.space import InputShape, SearchSpace

_T = TypeVar("_T")
_NOTHING: Any = object()
"""Stands for no value, since None may be one."""
_AROUND = 0.65  # share of the pool that are mutants of the best; a tenth of it are children of two of them
_SHARE = 20  # blocks of fresh candidates in a pool
_MOST_BLOCKS = 100  # of fresh candidates that a choice looks at, where the newest were tried before
_MOST_PARENTS = 100
_MOST_PROFILES = 10_000


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
        value = distribution.low + distribution.step * int(rng.integers(steps + 1))
        return min(value, distribution.high)  # which rounding may exceed
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
        features: what the space says that accuracy depends on; None where it says nothing.
    """

    suggestions: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    architecture: Architecture
    profile: CostProfile
    origin: str
    features: Mapping[str, float] | None = None

    @property
    def id(self) -> str:
        """The architecture's canonical id."""
        return self.architecture.id

    @cached_property
    def coordinates(self) -> dict[str, float]:
        """The space's features; without them the suggestions: one-hot for categories, [0, 1] for numbers."""
        if self.features is not None:
            return dict(self.features)
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


def coordinate_names(candidates: Sequence[Candidate]) -> list[str]:
    """Names of all coordinates of ``candidates``, sorted."""
    return sorted({name for candidate in candidates for name in candidate.coordinates})


def feature_table(candidates: Sequence[Candidate], names: Sequence[str] | None = None) -> NDArray[np.float64]:
    """Features for the accuracy predictor, shape ``(n, d)``: coordinates beside the log cost features.

    Args:
        candidates: the rows.
        names: coordinates of the columns, in order; by default all that ``candidates`` have.
    """
    names = coordinate_names(candidates) if names is None else names
    places = {name: i for i, name in enumerate(names)}
    table = np.zeros((len(candidates), len(names)))
    for row, candidate in zip(table, candidates, strict=True):
        for name, value in candidate.coordinates.items():
            if name in places:
                row[places[name]] = value
    return np.hstack([table, np.stack([candidate.costs for candidate in candidates])])


class _Recent(OrderedDict[Any, Any]):
    """A cache of the most recently used entries."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def obtain(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """The entry of ``key``, made where it is not there."""
        if key in self:
            self.move_to_end(key)
        else:
            self[key] = make()
            if len(self) > self._most:
                self.popitem(last=False)
        found: _T = self[key]
        return found


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
        self._warned = False
        # A long search must not keep everything that it has ever looked at.
        self._known = _Recent(_MOST_PROFILES)
        self._mutants = _Recent(_MOST_PARENTS)
        self._blocks = _Recent(
            _MOST_BLOCKS + 1
        )  # one more than a choice looks at: the oldest makes room for the newest

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
        step: int,
        seed: int,
        parents: Sequence[Candidate],
        excluded: Iterable[str],
    ) -> list[Candidate]:
        """Up to ``size`` distinct candidates: most of them around ``parents``, the others fresh.

        A function of the arguments alone. Most of it stays from one step to the next, and is made once. Networks that
        cannot be built or profiled are left out; the first of them gives a warning.

        Args:
            size: how many.
            step: number of the choice; every step sees a twentieth of new fresh candidates.
            seed: source of randomness.
            parents: candidates to mutate and cross over, the best first; with none, all are fresh.
            excluded: ids that must not be proposed again.
        """
        rng = np.random.default_rng([seed, 1, step])
        around: list[Candidate] = []
        if parents:
            share = max(1, int(_AROUND * size) // len(parents))
            for parent in parents:
                around += self._neighbours(parent, share, seed)
        if len(parents) > 1:  # some are children of two
            for _ in range(size // 10):
                pair = rng.choice(len(parents), 2, replace=False)
                child = self._try(rng, [parents[i].suggestions for i in pair], 0.0)
                around += [child] if child is not None else []
        seen = set(excluded)
        found: list[Candidate] = []
        for candidate in itertools.chain(around, self._fresh(size, step, seed)):
            if len(found) == size:
                break
            if candidate.id not in seen:
                seen.add(candidate.id)
                found.append(candidate)
        attempts = 0 if found else 4 * size  # a nearly exhausted space: look for what is left of it
        while attempts and len(found) < size:
            attempts -= 1
            other = self._try(rng)
            if other is not None and other.id not in seen:
                seen.add(other.id)
                found.append(other)
        return found

    def _try(
        self, rng: np.random.Generator, parents: Sequence[Mapping[str, Any]] = (), mutation_rate: float = 0.0
    ) -> Candidate | None:
        """As ``make``; None where the network cannot be made: one of a user's space must not end a search."""
        try:
            return self.make(rng, parents, mutation_rate)
        except Exception as error:
            if not self._warned:
                warnings.warn(
                    f"A network of the search space {self._space.name} cannot be made; it and others like it are left "
                    "out, so let sample suggest only what build can make. "
                    f"The error was: {type(error).__name__}: {error}",
                    stacklevel=4,
                )
            self._warned = True
            return None

    def _neighbours(self, parent: Candidate, count: int, seed: int) -> list[Candidate]:
        """Distinct mutants of ``parent``, with one to two changes on average as in regularised evolution."""
        return self._mutants.obtain((parent.id, count, seed), partial(self._mutated, parent, count, seed))

    def _mutated(self, parent: Candidate, count: int, seed: int) -> list[Candidate]:
        rng = np.random.default_rng([seed, 2, int(parent.id, 16)])
        mutants: dict[str, Candidate] = {}
        for attempt in range(2 * count):
            rate = (1 + attempt % 2) / max(len(parent.suggestions), 1)
            child = self._try(rng, [parent.suggestions], rate)
            if child is not None and child.id != parent.id:
                mutants.setdefault(child.id, child)
            if len(mutants) == count:
                break
        return list(mutants.values())

    def _fresh(self, size: int, step: int, seed: int) -> Iterator[Candidate]:
        """Fresh candidates in blocks of a twentieth of ``size``, newest first; each step brings a new block.

        Twenty blocks fill a pool. In a small space most of them are known, and further ones are looked at, too.
        """
        count = max(1, size // _SHARE)
        for number in range(step + _MOST_BLOCKS, step, -1):
            yield from self._blocks.obtain((seed, count, number), partial(self._block, seed, count, number))

    def _block(self, seed: int, count: int, number: int) -> list[Candidate]:
        rng = np.random.default_rng([seed, 3, number])
        drawn = [self._try(rng) for _ in range(count)]
        return [candidate for candidate in drawn if candidate is not None]

    def _candidate(self, params: Mapping[str, Any], trial: ReplayTrial, origin: str) -> Candidate:
        architecture = self._space.architecture(params)
        # Of one architecture written in two ways, rounded widths may differ: what is predicted is what will be trained.
        profile, features = self._known.obtain(
            repr(params),
            lambda: (
                self._space.profile(params, self._shape, self._classes, self._batch),
                self._space.features(params),
            ),
        )
        return Candidate(trial.params, trial.distributions, architecture, profile, origin, features)
