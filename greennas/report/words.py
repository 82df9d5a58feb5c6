"""How the report writes metrics, energies and numbers: plain text, escaped by who puts it on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from greennas.energy import Kind, format_energy, format_range
from greennas.energy.units import JOULES_PER_KWH
from greennas.results import TrialRecord

NOTHING = "\N{EN DASH}"
"""What stands where there is no value."""

LABELS = {
    "accuracy": "Validation accuracy",
    "train_energy_j": "Training energy",
    "inference_energy_j_per_1k": "Inference energy of 1,000 images",
    "latency_ms": "Latency",
    "flops": "FLOPs",
    "parameters": "Parameters",
}

KIND_MEANINGS = {
    Kind.MEASURED: "difference of a hardware energy counter",
    Kind.SAMPLED: "power readings, integrated over time",
    Kind.MODELLED: "CPU time multiplied with a band of watts; proportional to CPU time, not read from a counter",
    Kind.TABULAR: "looked up in a published table: spent where the table was made, not on this machine",
    Kind.NORMALISED: "metered on one kind of device and converted to the joules of another by their profiles",
    Kind.UNAVAILABLE: "nothing could be read; that is not 0 J",
}


@dataclass(frozen=True)
class Scale:
    """Unit of an axis: shown value = value * factor."""

    factor: float
    unit: str


def label(metric: str) -> str:
    """Name of a metric for people, as at the start of a sentence."""
    return LABELS.get(metric, metric)


def noun(metric: str) -> str:
    """Name of a metric within a sentence."""
    text = label(metric)
    return text if text.isupper() or text == "FLOPs" else text[:1].lower() + text[1:]


def is_energy(metric: str) -> bool:
    """Whether a metric is in joules and therefore has a kind; a table's other units are shown as they are."""
    return "energy_j" in metric


def known(value: float | None) -> bool:
    """Whether there is a finite value."""
    return value is not None and math.isfinite(value)


def number(value: float) -> str:
    """A number with three significant digits and, from 10,000 on, an SI suffix; smaller integers as they are."""
    for limit, size, suffix in ((1e12, 1e12, " T"), (1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if abs(value) >= limit:
            return f"{float(f'{value / size:.3g}'):,g}{suffix}"
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):g}"


def show(metric: str, value: float | None) -> str:
    """A metric's value with its unit, without its kind."""
    if value is None or not math.isfinite(value):
        return "unavailable" if is_energy(metric) and value is None else NOTHING
    if metric == "accuracy":
        return f"{100 * value:.2f}%"
    if is_energy(metric):
        return format_energy(value)
    return f"{number(value)} ms" if metric == "latency_ms" else number(value)


def show_with_kind(metric: str, trial: TrialRecord) -> str:
    """A trial's value of a metric with its unit and, where it is an energy, its kind."""
    text = show(metric, trial.metrics.get(metric))
    kind = kind_of(metric, trial)
    return f"{text} ({kind})" if kind and text != kind else text


def kind_of(metric: str, trial: TrialRecord) -> str:
    """Kind of a trial's energy metric; empty for a metric that is no energy."""
    if not is_energy(metric):
        return ""
    return trial.kinds.get(metric) or "kind not recorded" if known(trial.metrics.get(metric)) else "unavailable"


def kinds_of(metric: str, trials: Iterable[TrialRecord]) -> list[str]:
    """The kinds that a metric has among ``trials``, sorted; empty for a metric that is no energy."""
    return sorted({kind_of(metric, trial) for trial in trials} - {""})


def interval(low_j: float | None, high_j: float | None) -> str:
    """Two energies as a range; that of an energy without bounds is none."""
    return format_range(low_j, high_j, " to ") or NOTHING


def component(name: str) -> str:
    """What a reading is of: devices as they are abbreviated, other words as they are."""
    return name.upper() if name in ("cpu", "gpu", "dram") else name


def duration(seconds: float) -> str:
    """A duration: seconds under two minutes, minutes under two hours, else hours."""
    for limit, unit, size in ((120.0, "s", 1.0), (7200.0, "min", 60.0), (math.inf, "h", 3600.0)):
        if seconds < limit:
            return f"{number(seconds / size)} {unit}"
    return NOTHING


def plural(count: int, singular: str, several: str | None = None) -> str:
    """``1 training``, ``2 trainings``."""
    return f"{count:,} {singular if count == 1 else several or singular + 's'}"


def share(value: float) -> str:
    """A share in percent, with a decimal near 0% and 100%."""
    return f"{value:.0%}" if 0.01 <= value <= 0.99 or value > 1 else f"{value:.1%}"


def scale(metric: str, values: Iterable[float]) -> Scale:
    """Unit for an axis with ``values`` of a metric."""
    if metric == "accuracy":
        return Scale(100.0, "%")
    if metric == "latency_ms":
        return Scale(1.0, "ms")
    if not is_energy(metric):
        return Scale(1.0, "")
    largest = max(map(abs, values), default=0.0)
    if largest < 1e4:
        return Scale(1.0, "J")
    return Scale(1e-3, "kJ") if largest < 1e6 else Scale(1 / JOULES_PER_KWH, "kWh")
