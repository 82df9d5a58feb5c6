"""The figures that a search's bill is made of; ``carbon`` computes them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from greennas.energy import Kind
from greennas.energy.units import JOULES_PER_KWH
from greennas.errors import ConfigError


@dataclass(frozen=True)
class Subtotal:
    """Energy of one kind.

    The bounds are sums of bounds: they hold even if all errors go the same way, as those of a model's watts do.

    Attributes:
        component: "gpu", "cpu", "dram"; "all" where components were added.
        kind: kind of all of it.
        energy_j: joules; None for the kind unavailable.
        low_j: lower bound in joules, likewise.
        high_j: upper bound in joules, likewise.
        seconds: metered seconds; what is metered side by side (workers, components) counts each.
        readings: number of readings.
        shared: how many of them were of a device on which something else ran: upper bounds on this search's energy.
    """

    component: str
    kind: Kind
    energy_j: float | None
    low_j: float | None
    high_j: float | None
    seconds: float
    readings: int
    shared: int

    @property
    def energy_kwh(self) -> float | None:
        """Energy in kilowatt-hours; None for the kind unavailable."""
        return None if self.energy_j is None else self.energy_j / JOULES_PER_KWH

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self) | {"kind": str(self.kind), "energy_kwh": self.energy_kwh}


@dataclass(frozen=True)
class Estimate:
    """A predicted energy in joules with its interval, and the kind of the joules that it was learnt from."""

    mean_j: float
    low_j: float
    high_j: float
    kind: str = ""

    def __post_init__(self) -> None:
        if not (self.low_j <= self.mean_j <= self.high_j and all(map(math.isfinite, (self.low_j, self.high_j)))):
            raise ConfigError(
                f"An estimate needs low <= mean <= high, but is {self.low_j}, {self.mean_j}, {self.high_j}."
            )


@dataclass(frozen=True)
class Price:
    """Green AI's E x D x H, for the component that trainings are compared by.

    Attributes:
        component: "gpu" or "cpu".
        kind: kind of all joules here.
        energy_per_example_j: E in joules, for one example shown once in training.
        flops_per_example: E in FLOPs, mean over the trainings; None where not given.
        examples: D, examples shown in one training (epochs counted), mean over the trainings.
        trials: H, the number of trainings that ran to their end.
        product_j: E * D * H in joules: what the finished trainings took.
        metered_j: all that this component was metered at, in the same kind.
        ratio: metered over product; what is above 1 went elsewhere (failed, stopped, probes, ...).
    """

    component: str
    kind: Kind
    energy_per_example_j: float
    flops_per_example: float | None
    examples: float
    trials: int
    product_j: float
    metered_j: float

    @property
    def ratio(self) -> float:
        """Metered energy over E * D * H."""
        return self.metered_j / self.product_j


@dataclass(frozen=True)
class Reconciliation:
    """The entries against a meter of their own that ran over the whole of each session.

    Attributes:
        component: "gpu", "cpu" or "dram".
        kind: kind of all joules here.
        metered_j: what the sessions' meters read.
        own_j: entries that were metered on their own.
        derived_j: entries that are remainders of ``metered_j``.
        comparable: False where other entries of the component are of another kind, so that these are not all.
    """

    component: str
    kind: Kind
    metered_j: float
    own_j: float
    derived_j: float
    comparable: bool = True

    @property
    def entries_j(self) -> float:
        """All entries."""
        return self.own_j + self.derived_j

    @property
    def ratio(self) -> float | None:
        """Entries over the metered total: 1 where the bill is whole; None where they do not compare, or it is 0 J.

        Above 1, entries are of sessions that were killed before their total was written, or were counted twice.
        """
        return self.entries_j / self.metered_j if self.metered_j and self.comparable else None


@dataclass(frozen=True)
class Carbon:
    """Emissions in grams of CO2 equivalent, with the energy's bounds; the grid's own uncertainty is not in them."""

    carbon_g: float
    low_g: float
    high_g: float
