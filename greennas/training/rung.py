"""Rungs: budgets below the full one, at which a network is compared with others before it gets more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from greennas.errors import ConfigError


@dataclass(frozen=True)
class Rung:
    """A budget below the full one.

    With the whole images and the whole train split it is a look at the training itself, which then goes on. With
    smaller images or a part of the train split it is a short training of its own, done before, of which nothing is kept
    but the ranking: its weights, and the joules it took, are none of the network's training.

    Attributes:
        epochs: passes over what is trained on.
        resolution: height and width in pixels that the images are made smaller to; None: as they are.
        data_share: how much of the train split is trained on, above 0 to 1.

    Raises:
        ConfigError: a value out of range.
    """

    epochs: float
    resolution: int | None = None
    data_share: float = 1.0

    def __post_init__(self) -> None:
        rules = {
            "epochs": (_number(self.epochs) and 0 < self.epochs < math.inf, "above 0"),
            "resolution": (
                self.resolution is None or (type(self.resolution) is int and self.resolution >= 4),
                "4 pixels or more, or left out",
            ),
            "data_share": (_number(self.data_share) and 0 < self.data_share <= 1, "above 0 to 1"),
        }
        for name, (good, rule) in rules.items():
            if not good:
                raise ConfigError(f"A rung's {name} is {getattr(self, name)!r}; it must be {rule}.")

    @classmethod
    def of(cls, given: object) -> Rung:
        """The rung that a setting says: a number of epochs, or a mapping with ``epochs`` and what is reduced.

        Raises:
            ConfigError: something else, or a value out of range.
        """
        if isinstance(given, Rung):
            return given
        if _number(given):
            return cls(given)  # type: ignore[arg-type]
        if isinstance(given, Mapping) and "epochs" in given and set(given) <= set(cls.__annotations__):
            return cls(**given)
        raise ConfigError(
            f"{given!r} is no rung; write a number of epochs, or {{epochs: 2, resolution: 16, data_share: 0.5}} with "
            "one of the last two or both."
        )

    @property
    def separate(self) -> bool:
        """Whether it is a short training of its own."""
        return self.resolution is not None or self.data_share < 1

    @property
    def plain(self) -> float | dict[str, Any]:
        """As a setting says it: read back by ``of``."""
        if not self.separate:
            return self.epochs
        return {name: value for name, value in asdict(self).items() if value != getattr(type(self), name, None)}

    def pixels(self, side: int) -> float:
        """Share of the pixels of images with ``side`` pixels a side."""
        return 1.0 if self.resolution is None else (self.resolution / side) ** 2

    def __str__(self) -> str:
        size = "" if self.resolution is None else f" at {self.resolution} pixels"
        share = "" if self.data_share == 1 else f" on {self.data_share:.0%} of the images"
        return f"{self.epochs:g} {'epoch' if self.epochs == 1 else 'epochs'}{size}{share}"


RungSetting = Annotated[Rung, BeforeValidator(Rung.of), PlainSerializer(lambda rung: rung.plain)]
"""A rung as a field of pydantic's models: read and written as a setting says it."""


def epochs_before(rungs: Iterable[Rung], side: int) -> float:
    """What the rungs that are trainings of their own cost, in epochs of images of ``side`` pixels, by their pixels."""
    return sum(rung.epochs * rung.data_share * rung.pixels(side) for rung in rungs if rung.separate)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
