"""Shared parts of the figures: Plotly figures as plain dictionaries, with colours by the name of a style.

A colour ``"$accent"`` is the style sheet's ``--accent``; the page's script puts it in, so that a figure follows the
reader's light or dark mode. Texts that a figure shows are escaped here: Plotly reads some HTML in them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from greennas.report.words import is_energy, kind_of, label, number, scale, show, show_with_kind
from greennas.results import TrialRecord

SYMBOLS = {"measured": "circle", "sampled": "square", "modelled": "circle", "tabular": "diamond", "normalised": "cross"}
"""Marker of each kind of energy where several are in one figure."""


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Attributes:
        name: id on the page.
        title: heading.
        alt: what it shows, for who does not see it.
        caption: how to read it, HTML.
        data: Plotly's traces.
        layout: Plotly's layout, on top of ``base_layout``.
    """

    name: str
    title: str
    alt: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """One axis of a figure: its metric, unit, scale and range.

    Attributes:
        metric: what is on it.
        title: label with unit and kind.
        factor: shown value = value * factor.
        log: whether it is logarithmic.
        range: ends as Plotly wants them (exponents of 10 for a logarithmic axis).
    """

    metric: str
    title: str
    factor: float
    log: bool
    range: tuple[float, float]

    @classmethod
    def of(cls, metric: str, values: Iterable[float], kinds: Sequence[str] = (), *, log: bool | None = None) -> Axis:
        """The axis for ``values`` of a metric; logarithmic where positive values span more than a decade."""
        finite = [value for value in values if math.isfinite(value)] or [1.0]
        unit = scale(metric, finite)
        shown = [value * unit.factor for value in finite]
        if log is None:
            log = metric != "accuracy" and min(shown) > 0 and max(shown) > 10 * min(shown)
        placed = [math.log10(value) for value in shown] if log else shown
        low, high = min(placed), max(placed)
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        words = ", ".join(word for word in (unit.unit, *kinds) if word)
        return cls(
            metric, f"{label(metric)}{f' ({words})' if words else ''}", unit.factor, log, (low - margin, high + margin)
        )

    def layout(self) -> dict[str, Any]:
        """Plotly's description of the axis."""
        return {
            "title": {"text": escape(self.title, quote=False)},
            "type": "log" if self.log else "linear",
            "range": list(self.range),
            **(_ticks(*self.range) if self.log else {}),
        }

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        return float(f"{value * self.factor:.6g}")


def _ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks of a logarithmic axis with whole labels, where Plotly would write 100, 2, 5, 1000."""
    steps = (1, 2, 5) if high - low < 3 else (1,)
    values = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return {"tickvals": values, "ticktext": [f"{value:,g}" if value < 1e5 else number(value) for value in values]}


def plain(text: str) -> str:
    """Text that Plotly shows as it is."""
    return escape(text, quote=False)


def paragraph(text: str, width: int = 52, limit: int = 400) -> str:
    """Text wrapped into the lines of a hover label."""
    return "<br>".join(plain(line) for line in textwrap.wrap(textwrap.shorten(text, limit, placeholder=" …"), width))


def hover(trial: TrialRecord, metrics: Sequence[str]) -> str:
    """Hover label of a trained network: id, metrics with kinds, why it was chosen."""
    lines = [f"<b>{plain(trial.architecture_id or f'trial {trial.number}')}</b>"]
    lines += [f"{plain(label(name))}: {plain(show_with_kind(name, trial))}" for name in metrics]
    if "accuracy" in trial.test:
        lines.append(f"Test accuracy: {show('accuracy', trial.test['accuracy'])}")
    if reason := str(trial.proposal.get("reason", "")):
        lines += ["", f"Trial {trial.number}, chosen as:", paragraph(reason)]
    return "<br>".join(lines)


def by_kind(trials: Sequence[TrialRecord], metrics: Sequence[str]) -> dict[str, list[TrialRecord]]:
    """Trials by the kinds of their energy metrics; one group without a name where they have none."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        kinds = sorted({kind_of(name, trial) for name in metrics if is_energy(name)})
        groups.setdefault(", ".join(kinds), []).append(trial)
    return dict(sorted(groups.items()))


def markers(
    name: str, points: Sequence[tuple[float, float]], texts: Sequence[str], marker: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """A trace of markers with hover labels."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(name),
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "hovertext": list(texts),
        "hoverinfo": "text",
        "marker": marker,
        **more,
    }


def line(name: str, points: Sequence[tuple[float, float]], style: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A trace that is a line, without hover labels."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(name),
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "hoverinfo": "skip",
        "line": style,
        **more,
    }


def layout(x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Plotly's layout: quiet axes, legend below, no background of its own."""
    quiet = {
        "gridcolor": "$grid",
        "linecolor": "$line",
        "tickcolor": "$line",
        "tickfont": {"color": "$muted"},
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "automargin": True,
        "exponentformat": "SI",
    }
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "$ink", "size": 13},
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "$raised", "bordercolor": "$line", "font": {"color": "$ink"}, "align": "left"},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "y": 0, "yanchor": "bottom"},
        "xaxis": {**quiet, **x},
        "yaxis": {**quiet, **y},
        **more,
    }
