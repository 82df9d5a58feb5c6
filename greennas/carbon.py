"""The price tag of a search: joules by what they were spent on, Green AI's E x D x H, and gCO2e if asked for.

Cost(R) of a result R is proportional to E * D * H: the cost of one example, times the number of examples of a
training, times the number of experiments (Schwartz, Dodge, Smith and Etzioni, "Green AI", Communications of the ACM
63(12), 2020, equation 1). Joules of different kinds are never added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from greennas.energy import Kind, Reading, format_energy
from greennas.energy.units import JOULES_PER_KWH
from greennas.errors import ConfigError, RunError

_Key = TypeVar("_Key", bound=Hashable)


class Phase(StrEnum):
    """What energy was spent on."""

    TRAINING = "training"
    """Trainings that ran to their end."""
    FAILED_TRAINING = "failed_training"
    STOPPED_TRAINING = "stopped_training"
    """Trainings stopped early or cut off by a kill."""
    EVALUATION = "evaluation"
    """Validation of trained networks."""
    PROBE = "probe"
    """Energy measured over a few training steps of a candidate."""
    SCREENING = "screening"
    """Proposing candidates and predicting which of them are worth training."""
    OVERHEAD = "overhead"
    """Starting workers, loading data, building networks, waiting, and the rest of the search loop."""
    TEST = "test"
    """The one look at the test split."""
    CONFIRMATION = "confirmation"
    """The final front's training energy, measured again."""


@dataclass(frozen=True)
class CostEntry:
    """One reading, with what it was spent on and by whom."""

    phase: Phase
    worker: str
    reading: Reading

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {"phase": str(self.phase), "worker": self.worker, "reading": self.reading.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CostEntry:
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, ValueError: a field is missing or unknown.
        """
        return cls(Phase(data["phase"]), data["worker"], Reading.from_json(data["reading"]))


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


@dataclass(frozen=True)
class Estimate:
    """A predicted energy in joules with its interval."""

    mean_j: float
    low_j: float
    high_j: float

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
class Carbon:
    """Emissions in grams of CO2 equivalent, with the energy's bounds; the grid's own uncertainty is not in them."""

    carbon_g: float
    low_g: float
    high_g: float


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
    pue: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(self.entries))
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
            return "No gCO2e: the grid intensity was not given, and it is not guessed."
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

    def rows(self) -> list[dict[str, Any]]:
        """One row for each phase, component and kind: the columns of ``Subtotal``, the phase and kWh."""
        return [
            {"phase": str(phase), **asdict(subtotal), "kind": str(subtotal.kind), "energy_kwh": subtotal.energy_kwh}
            for phase, subtotals in self.by_phase().items()
            for subtotal in subtotals
        ]

    def markdown(self) -> str:
        """The price tag as a table and sentences, in Markdown."""
        lines = [
            "| spent on | component | kind | energy | low - high | kWh | hours |",
            "| --- | --- | --- | ---: | ---: | ---: | ---: |",
        ]
        parts = [(phase.value, subtotal) for phase, group in self.by_phase().items() for subtotal in group]
        totals = self.totals()
        for name, total in [*parts, *((f"**all {kind}**", total) for kind, total in totals.items())]:
            bounds = (
                f"{format_energy(total.low_j)} - {format_energy(total.high_j)}" if total.energy_j is not None else ""
            )
            kwh = "" if total.energy_kwh is None else f"{total.energy_kwh:.4g}"
            cells = (name.replace("_", " "), total.component, total.kind, format_energy(total.energy_j), bounds, kwh)
            # Components are metered side by side: their hours are not added.
            hours = "" if total.component == "all" else f"{total.seconds / 3600:.3g}"
            lines.append(f"| {' | '.join(cells)} | {hours} |")
        return "\n".join([*lines, "", *(f"- {sentence}" for sentence in self.sentences())]) + "\n"

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
            "pue": self.pue,
            "summary": {
                "rows": self.rows(),
                "totals": {str(kind): {**asdict(total), "kind": str(kind)} for kind, total in self.totals().items()},
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

    def sentences(self) -> Iterable[str]:
        """The price, the savings, the emissions and what is uncertain about them, one sentence each."""
        totals = self.totals()
        if price := self.price():
            flops = f" ({price.flops_per_example:.3g} FLOPs)" if price.flops_per_example is not None else ""
            yield (
                f"Green AI: E = {format_energy(price.energy_per_example_j)}{flops} an example, "
                f"D = {price.examples:,.0f} examples a training, H = {price.trials} trainings; "
                f"E x D x H = {format_energy(price.product_j)} "
                f"({price.component}, {price.kind}), and {format_energy(price.metered_j)} were metered: "
                f"{price.ratio:.2f} times as much."
            )
        else:
            yield str(self.price_reason)
        if self.saved:
            bounds = f"{format_energy(self.saved.low_j)} - {format_energy(self.saved.high_j)}"
            yield f"Not spent on what was screened out: {format_energy(self.saved.mean_j)} ({bounds}), predicted."
        carbon = self.carbon()
        if carbon is None:
            yield str(self.carbon_reason)
        else:
            source = f" ({self.grid_source})" if self.grid_source else ""
            basis = f"at {self.grid_intensity_g_per_kwh:g} g/kWh{source} and a PUE of {self.pue:g}"
            for kind, value in carbon.items():
                yield f"{value.carbon_g:.4g} gCO2e ({value.low_g:.4g} - {value.high_g:.4g}), {kind}, {basis}."
        if missing := totals.get(Kind.UNAVAILABLE):
            yield f"{missing.readings} readings have no energy: the sums leave {missing.seconds:.0f} s out."
        if shared := sum(total.shared for total in totals.values()):
            yield f"{shared} readings are of devices on which something else ran: upper bounds on this search's energy."


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
