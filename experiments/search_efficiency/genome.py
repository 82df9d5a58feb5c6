"""A space as a fixed number of integers, for searchers that know no conditional questions."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from greennas.sampler.candidates import ReplayTrial
from greennas.space import SearchSpace

_LOOKS = 500  # random samples of a space, in which each of its questions is taken to occur


class Genome:
    """One gene for each suggestion that ``sample`` may make; genes that a network is not asked are silent.

    Attributes:
        names: suggestion to number of values of its gene, which are 0, 1, ...
    """

    LEVELS = 10
    """Values of a gene for a number."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        rng = np.random.default_rng(0)
        self.names: dict[str, int] = {}
        for _ in range(_LOOKS):
            trial = ReplayTrial(rng)
            space.sample(trial)
            for name, distribution in trial.distributions.items():
                count = len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else self.LEVELS
                self.names[name] = count

    def decode(self, genes: Sequence[int]) -> dict[str, Any]:
        """Parameters of the network of ``genes``, in the order of ``names``."""
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

    def new(self, genes: Sequence[int], known: Container[str], rng: np.random.Generator) -> list[int]:
        """``genes`` if their network is not known, else what a random walk from there, a gene a step, finds first.

        For Gaussian processes, which else ask for their best known network again and again, seconds a time.
        """
        counts = list(self.names.values())
        found = list(genes)
        for _ in range(_LOOKS):
            if self._space.architecture(self.decode(found)).id not in known:
                break
            gene = int(rng.integers(len(counts)))
            found[gene] = int(rng.integers(counts[gene]))
        return found
