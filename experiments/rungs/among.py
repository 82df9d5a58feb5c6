"""GreenSampler among recorded networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greennas.errors import ConfigError
from greennas.sampler import Candidate, GreenSampler
from greennas.sampler.history import History
from greennas.space import SearchSpace


class AmongSampler(GreenSampler):
    """Proposes those of some networks of a space that were not tried yet.

    Args:
        networks: to propose.
        space: theirs.
        options: of ``GreenSampler``.
    """

    def __init__(self, networks: Sequence[Candidate], space: SearchSpace, **options: Any) -> None:
        super().__init__(space, **options)
        self._networks = networks

    def _proposed(self, history: History, parents: list[Candidate], step: int | None = None) -> list[Candidate]:
        left = [network for network in self._networks if network.id not in history.tried]
        if not left:
            raise ConfigError("All of these networks have been tried.")
        return left
