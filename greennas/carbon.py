"""The price tag of a search: joules by what they were spent on, Green AI's E x D x H, and gCO2e if asked for.

Cost(R) of a result R is proportional to E * D * H: the cost of one example, times the number of examples of a
training, times the number of experiments (Schwartz, Dodge, Smith and Etzioni, "Green AI", Communications of the ACM
63(12), 2020, equation 1). Joules of different kinds are never added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from greennas.cost_figures import Carbon, Estimate, Price, Reconciliation, Subtotal
from greennas.energy import Kind, Reading
from greennas.energy.units import JOULES_PER_KWH
from greennas.errors import ConfigError, RunError
from greennas.grid import find_grid

__all__ = ["Carbon", "CostEntry", "Estimate", "Phase", "Price", "Reconciliation", "SearchCost", "Subtotal"]

_Key = TypeVar("_Key", bound=Hashable)


class Phase(StrEnum):
    """What energy was spent on."""

    TRAINING = "training"
    """Trainings that ran to their end."""
    TEACHER = "teacher"
    """The training of a teacher for a distillation."""
    FAILED_TRAINING = "failed_training"
    STOPPED_TRAINING = "stopped_training"
    """Trainings stopped early or cut off by a kill."""
    RUNG = "rung"
    """Short trainings of their own, on smaller images or fewer of them, that decide which networks are trained."""
    EVALUATION = "evaluation"
    """Validation of trained networks."""
    PROBE = "probe"
    """Energy measured over a few training steps of a candidate."""
    SCREENING = "screening"
    """Proposing candidates and predicting which of them are worth training."""
    OVERHEAD = "overhead"
    """Starting workers, loading data, building networks, waiting, and the rest of the search loop."""
    IDLE = "idle"
    """What a GPU drew while none of the search's work was on it."""
    TEST = "test"
    """The one look at the test split."""
    CONFIRMATION = "confirmation"
    """The final front's training energy, measured again."""


@dataclass(frozen=True)
class CostEntry:
    """One reading, with what it was spent on and by whom.

    Attributes:
        phase: what it was spent on.
        worker: by whom.
        reading: how much.
        derived: whether it is a remainder: a session's metered total less what was metered on its own.
    """

    phase: Phase
    worker: str
    reading: Reading
    derived: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        plain = {"phase": str(self.phase), "worker": self.worker, "reading": self.reading.to_json()}
        return plain | ({"derived": True} if self.derived else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CostEntry:
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, ValueError: a field is missing or unknown.
        """
        return cls(Phase(data["phase"]), data["worker"], Reading.from_json(data["reading"]), data.get("derived", False))


@dataclass(frozen=True)
class SearchCost:
    """What a search cost.

    Attributes:
        entries: all metered energy.
        trials: H, trainings that ran to their end.
        examples_seen: examples shown in them, over all epochs and all of them.
        flops_per_example: training FLOPs of one example, mean over the trainings; None where not known.
        saved: predicted energy of the trainings that were screened out; None where none was predicted.
        grid_intensity_g_per_kwh: carbon intensity of the grid; None gives no emissions.
        grid_source: where the intensity comes from, with its year.
        grid_location: the grid's country; empty if not known.
        metered: readings of meters that ran over whole sessions, for ``reconciliation``.
        pue: power usage effectiveness, the data centre's energy over the machines' energy.

    Raises:
        ConfigError: an intensity that is not positive, a PUE below 1, a negative count.
    """

    entries: Sequence[CostEntry]
    trials: int = 0
    examples_seen: int = 0
    flops_per_example: float | None = None
    saved: Estimate | None = None
    grid_intensity_g_per_kwh: float | None = None
    grid_source: str = ""
    grid_location: str = ""
    pue: float = 1.0
    metered: Sequence[Reading] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(self.entries))
        object.__setattr__(self, "metered", tuple(self.metered))
        intensity = self.grid_intensity_g_per_kwh
        if intensity is not None and not (intensity > 0 and math.isfinite(intensity)):
            raise ConfigError(f"A grid intensity must be above 0 g/kWh, but is {intensity}; leave it out if unknown.")
        if not (self.pue >= 1 and math.isfinite(self.pue)):
            raise ConfigError(f"A PUE is at least 1, but is {self.pue}; leave it out if unknown.")
        if self.trials < 0 or self.examples_seen < 0:
            raise ConfigError("The numbers of trials and of examples seen cannot be negative; count them again.")

    def by_kind(self) -> dict[Kind, list[Subtotal]]:
        """Energy by kind, in each kind by component."""
        return self._by(lambda entry: entry.reading.kind)

    def by_phase(self) -> dict[Phase, list[Subtotal]]:
        """Energy by what it was spent on, then by component and kind."""
        grouped = self._by(lambda entry: entry.phase)
        return {phase: grouped[phase] for phase in Phase if phase in grouped}

    def by_worker(self) -> dict[str, list[Subtotal]]:
        """Energy by worker, then by component and kind."""
        return self._by(lambda entry: entry.worker)

    def totals(self) -> dict[Kind, Subtotal]:
        """Energy by kind, components added."""
        readings: dict[Kind, list[Reading]] = {}
        for entry in self.entries:
            readings.setdefault(entry.reading.kind, []).append(entry.reading)
        return {kind: _subtotal("all", kind, readings[kind]) for kind in Kind if kind in readings}

    def carbon(self) -> dict[Kind, Carbon] | None:
        """Emissions by kind: energy * PUE * grid intensity; None without a grid intensity (see ``carbon_reason``)."""
        if self.grid_intensity_g_per_kwh is None:
            return None
        g_per_j = self.grid_intensity_g_per_kwh * self.pue / JOULES_PER_KWH
        return {
            kind: Carbon(total.energy_j * g_per_j, total.low_j * g_per_j, total.high_j * g_per_j)
            for kind, total in self.totals().items()
            if total.energy_j is not None and total.low_j is not None and total.high_j is not None
        }

    @property
    def carbon_reason(self) -> str | None:
        """Why there are no emissions; None where there are."""
        if self.grid_intensity_g_per_kwh is None:
            return "No gCO2e: the grid intensity was not given (as in --grid-intensity DE), and it is not guessed."
        return None

    def price(self) -> Price | None:
        """E, D, H, their product and the metered total; None where they cannot be told (see ``price_reason``)."""
        trained = self._primary_training()
        if self.price_reason is not None or not trained:
            return None
        component, kind = trained[0].component, trained[0].kind
        product_j = sum(reading.energy_j or 0.0 for reading in trained)
        metered_j = sum(
            entry.reading.energy_j or 0.0
            for entry in self.entries
            if (entry.reading.component, entry.reading.kind) == (component, kind)
        )
        return Price(
            component=component,
            kind=kind,
            energy_per_example_j=product_j / self.examples_seen,
            flops_per_example=self.flops_per_example,
            examples=self.examples_seen / self.trials,
            trials=self.trials,
            product_j=product_j,
            metered_j=metered_j,
        )

    @property
    def price_reason(self) -> str | None:
        """Why E x D x H cannot be told; None where it can."""
        trained = self._primary_training()
        if not trained or not self.trials or not self.examples_seen:
            return "No E x D x H: no training ran to its end, or the examples seen were not counted."
        kinds = {reading.kind for reading in trained}
        if Kind.UNAVAILABLE in kinds:
            return f"No E x D x H: the {trained[0].component} energy of some trainings is unavailable."
        if len(kinds) > 1:
            return f"No E x D x H: the trainings' joules are of several kinds ({', '.join(sorted(kinds))})."
        if not any(reading.energy_j for reading in trained):
            return "No E x D x H: the trainings' energy is 0 J, which no counter here can resolve."
        return None

    def reconciliation(self) -> list[Reconciliation]:
        """The entries against the sessions' meters, for each component and kind that these read.

        The meters are of the machine that the search ran on; what a cluster's nodes drew is in no reconciliation.
        """
        totals: dict[tuple[str, Kind], float] = {}
        for reading in self.metered:
            if reading.energy_j is not None:
                source = (reading.component, reading.kind)
                totals[source] = totals.get(source, 0.0) + reading.energy_j
        found = []
        for (component, kind), metered_j in sorted(totals.items()):
            here = [entry for entry in self.entries if not entry.reading.node]
            entries = [e for e in here if (e.reading.component, e.reading.kind) == (component, kind)]
            own, derived = (
                math.fsum(e.reading.energy_j or 0.0 for e in entries if e.derived is wanted) for wanted in (False, True)
            )
            kinds = {e.reading.kind for e in here if e.reading.component == component}
            found.append(Reconciliation(component, kind, metered_j, own, derived, kinds <= {kind, Kind.UNAVAILABLE}))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One row for each phase, component and kind: the columns of ``Subtotal``, the phase and kWh."""
        return [
            {"phase": str(phase), **subtotal.to_json()}
            for phase, subtotals in self.by_phase().items()
            for subtotal in subtotals
        ]

    def worker_rows(self) -> list[dict[str, Any]]:
        """One row for each worker, component and kind: the columns of ``Subtotal``, the worker and kWh."""
        return [
            {"worker": worker, **subtotal.to_json()}
            for worker, subtotals in sorted(self.by_worker().items())
            for subtotal in subtotals
        ]

    def markdown(self) -> str:
        """The bill as tables and sentences, in Markdown; ``greennas.price_tag`` has further forms."""
        from greennas.price_tag import markdown

        return markdown(self)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``; ``summary`` is derived and not read."""
        price, carbon = self.price(), self.carbon()
        return {
            "entries": [entry.to_json() for entry in self.entries],
            "trials": self.trials,
            "examples_seen": self.examples_seen,
            "flops_per_example": self.flops_per_example,
            "saved": asdict(self.saved) if self.saved else None,
            "grid_intensity_g_per_kwh": self.grid_intensity_g_per_kwh,
            "grid_source": self.grid_source,
            "grid_location": self.grid_location,
            "pue": self.pue,
            "metered": [reading.to_json() for reading in self.metered],
            "summary": {
                "rows": self.rows(),
                "workers": self.worker_rows(),
                "totals": {str(kind): total.to_json() for kind, total in self.totals().items()},
                "reconciliation": [
                    {**asdict(each), "kind": str(each.kind), "entries_j": each.entries_j, "ratio": each.ratio}
                    for each in self.reconciliation()
                ],
                "price": {**asdict(price), "kind": str(price.kind), "ratio": price.ratio} if price else None,
                "price_reason": self.price_reason,
                "carbon": {str(kind): asdict(value) for kind, value in carbon.items()} if carbon is not None else None,
                "carbon_reason": self.carbon_reason,
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SearchCost:
        """Read what ``to_json`` wrote.

        Raises:
            RunError: a field is missing, unknown or out of range.
        """
        fields = {name: value for name, value in data.items() if name != "summary"}
        try:
            fields["entries"] = [CostEntry.from_json(entry) for entry in fields["entries"]]
            fields["metered"] = [Reading.from_json(reading) for reading in fields.get("metered", [])]
            fields["saved"] = Estimate(**fields["saved"]) if fields.get("saved") else None
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"Not the cost of a search: {error!r}; give JSON as written by SearchCost.to_json."
            ) from error

    def _by(self, key: Callable[[CostEntry], _Key]) -> dict[_Key, list[Subtotal]]:
        grouped: dict[_Key, dict[tuple[str, Kind], list[Reading]]] = {}
        for entry in self.entries:
            source = (entry.reading.component, entry.reading.kind)
            grouped.setdefault(key(entry), {}).setdefault(source, []).append(entry.reading)
        return {
            name: [_subtotal(*source, readings) for source, readings in sorted(sources.items())]
            for name, sources in grouped.items()
        }

    def _primary_training(self) -> list[Reading]:
        """Readings of finished trainings, of the component that trainings are compared by."""
        trained = [entry.reading for entry in self.entries if entry.phase is Phase.TRAINING]
        component = "gpu" if any(reading.component == "gpu" for reading in trained) else "cpu"
        return [reading for reading in trained if reading.component == component]


def priced(cost: SearchCost, grid_intensity: str | float | None = None, pue: float | None = None) -> SearchCost:
    """The same bill on another grid or with another PUE.

    Args:
        cost: the bill.
        grid_intensity: country or g/kWh, as for ``greennas.grid.find_grid``; None leaves it as it is.
        pue: power usage effectiveness; None leaves it as it is.

    Raises:
        ConfigError: an unknown country, or figures that cannot be.
    """
    if grid_intensity is not None:
        grid = find_grid(grid_intensity)
        intensity = {"grid_intensity_g_per_kwh": grid.g_per_kwh, "grid_source": grid.source}
        cost = replace(cost, **intensity, grid_location=grid.location)  # type: ignore[arg-type]
    return cost if pue is None else replace(cost, pue=pue)


def _subtotal(component: str, kind: Kind, readings: Sequence[Reading]) -> Subtotal:
    available = kind is not Kind.UNAVAILABLE
    return Subtotal(
        component=component,
        kind=kind,
        energy_j=math.fsum(reading.energy_j or 0.0 for reading in readings) if available else None,
        low_j=math.fsum(reading.low_j or 0.0 for reading in readings) if available else None,
        high_j=math.fsum(reading.high_j or 0.0 for reading in readings) if available else None,
        seconds=math.fsum(reading.seconds for reading in readings),
        readings=len(readings),
        shared=sum(reading.shared for reading in readings),
    )
