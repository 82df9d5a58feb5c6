"""One energy figure: how many joules, of which kind, between which bounds, and from where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from greennas.errors import MeterError


class Kind(StrEnum):
    """How a figure came about; figures of different kinds are never added."""

    MEASURED = "measured"
    """Difference of a hardware energy counter."""
    SAMPLED = "sampled"
    """Power readings integrated over time."""
    MODELLED = "modelled"
    """CPU time multiplied with a band of watts: proportional to CPU time."""
    TABULAR = "tabular"
    """Looked up in a published table: spent once, where the table was made, and not by this search."""
    NORMALISED = "normalised"
    """Metered on one kind of device, converted to another's joules by their profiles; a metric, never a reading."""
    UNAVAILABLE = "unavailable"
    """Nothing could be read: the energy is None, which is not 0 J."""


@dataclass(frozen=True)
class Reading:
    """The energy that one component drew during one window.

    The measurand is the energy of the *device* (modelled readings: of the process). Where something else ran on
    the device at the same time, ``shared`` is True and the figure is an upper bound on what the window's own work drew.

    Attributes:
        component: "gpu", "cpu" or "dram"; "table" for figures that were looked up.
        backend: the source, as in "nvml.total_energy", "rapl" or "cpu_time".
        kind: how the figure came about.
        energy_j: best estimate in joules; None if and only if the kind is unavailable.
        low_j: lower bound in joules, from the counter's resolution or the model's band; None with ``energy_j``.
        high_j: upper bound in joules, likewise. The bounds hold the error of reading the counter, not the
            counter's calibration (for NVIDIA's power sensor about 5%).
        seconds: length of the window in seconds.
        idle_power_w: power of the idle device in watts where it was measured; it is part of ``energy_j``.
        device: name of the device.
        uuid: unique id of the device; None where it has none.
        notes: what a reader of the figure must know, one sentence each.
        shared: whether something else was seen to run on the device during the window.
        node: the cluster's node that the device is in; empty for the machine that the search runs on.
    """

    component: str
    backend: str
    kind: Kind
    energy_j: float | None
    low_j: float | None
    high_j: float | None
    seconds: float
    idle_power_w: float | None
    device: str
    uuid: str | None
    notes: tuple[str, ...] = ()
    shared: bool = False
    node: str = ""

    def __post_init__(self) -> None:
        figures = (self.low_j, self.energy_j, self.high_j)
        if self.kind is Kind.UNAVAILABLE:
            if figures != (None, None, None):
                raise MeterError(f"An unavailable reading of {self.component} has no joules, but {figures} were given.")
        else:
            low_j, energy_j, high_j = figures
            if low_j is None or energy_j is None or high_j is None:
                raise MeterError(
                    f"A {self.kind} reading of {self.component} needs joules with a lower and upper bound."
                )
            if not (0 <= low_j <= energy_j <= high_j and math.isfinite(high_j)):
                raise MeterError(
                    f"A {self.kind} reading of {self.component} must have 0 <= low <= energy <= high, "
                    f"but got {low_j}, {energy_j} and {high_j} J."
                )
        if not (self.seconds >= 0 and math.isfinite(self.seconds)):
            raise MeterError(f"A window cannot last {self.seconds} s; give its length in seconds.")

    @property
    def power_w(self) -> float | None:
        """Mean power in watts; None for an unavailable reading or an empty window."""
        return self.energy_j / self.seconds if self.energy_j is not None and self.seconds > 0 else None

    @property
    def active_j(self) -> float | None:
        """Energy above idle in joules, not below 0; None where energy or idle power is unknown."""
        if self.energy_j is None or self.idle_power_w is None:
            return None
        return max(self.energy_j - self.idle_power_w * self.seconds, 0.0)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {**asdict(self), "kind": str(self.kind), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reading:
        """Read what ``to_json`` wrote.

        Raises:
            MeterError: a field is missing, unknown or out of range.
        """
        try:
            return cls(**{**data, "kind": Kind(data["kind"]), "notes": tuple(data["notes"])})
        except (KeyError, TypeError, ValueError) as error:
            raise MeterError(f"Not an energy reading: {error}; give JSON as written by Reading.to_json.") from error

    @classmethod
    def unavailable(
        cls,
        component: str,
        backend: str,
        reason: str,
        *,
        seconds: float = 0.0,
        device: str = "",
        uuid: str | None = None,
    ) -> Reading:
        """A reading without joules, whose note says why."""
        return cls(component, backend, Kind.UNAVAILABLE, None, None, None, seconds, None, device, uuid, (reason,))


def primary(readings: Iterable[Reading]) -> Reading:
    """The reading that the energy of trainings is compared by: that of the GPU if there is one, else that of the CPU.

    An unavailable GPU reading is still the primary one: the CPU's joules do not stand for those of a GPU training.

    Raises:
        MeterError: neither a GPU nor a CPU is among the readings.
    """
    by_component = {reading.component: reading for reading in reversed(list(readings))}
    for component in ("gpu", "cpu"):
        if component in by_component:
            return by_component[component]
    raise MeterError("There is no reading of a GPU or CPU to compare trainings by; open a meter with open_meter().")


def total(readings: Iterable[Reading]) -> tuple[float | None, Kind]:
    """Joules of the component that trainings are compared by, over several windows; None unless all are of one kind.

    Raises:
        MeterError: as for ``primary``.
    """
    readings = list(readings)
    component = primary(readings).component
    parts = [reading for reading in readings if reading.component == component]
    joules = [reading.energy_j for reading in parts if reading.energy_j is not None]
    kinds = {reading.kind for reading in parts}
    if len(joules) < len(parts) or len(kinds) > 1:
        return None, Kind.UNAVAILABLE
    return sum(joules), kinds.pop()


def subtotals(readings: Iterable[Reading]) -> dict[Kind, float]:
    """Joules by kind. Kinds are never added to each other; unavailable readings have no joules and no entry."""
    totals: dict[Kind, float] = {}
    for reading in readings:
        if reading.energy_j is not None:
            totals[reading.kind] = totals.get(reading.kind, 0.0) + reading.energy_j
    return totals
