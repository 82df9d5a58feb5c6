"""The figure of ``greennas bench``: accuracy against joules an image, with the front of the variants."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from greennas.energy.units import common_unit
from greennas.inference.classification_report import InferenceReport, InferenceRow
from greennas.inference.environment import did_not_run, place
from greennas.inference.plot import COLOURS, layout, write_page

_SYMBOLS = {"none": "circle", "folded": "diamond", "pruned": "triangle-down"}
_LEGEND = (
    "Circles: the network as it is; diamonds: batch norm folded; triangles: pruned. Filled: float32; open: bfloat16 or "
    "int8 (see the labels). Bars are the intervals of the energy: what they leave open is not ranked."
)


def write_plot(report: InferenceReport, path: Path) -> None:
    """Write the figures, one for each batch size and kind of joules, as an HTML file.

    Raises:
        ConfigError: it cannot be written.
    """
    groups: dict[tuple[int, str, str], list[InferenceRow]] = {}
    for row in report.rows:
        if row.image_j is not None and report.facts_of(row.variant).accuracy is not None:
            groups.setdefault((row.batch_size, str(row.kind), row.component), []).append(row)
    left_out = did_not_run(report.unavailable)
    if not groups:
        left_out.append("No variant has both an accuracy and an energy, so there is nothing to plot.")
    write_page(
        path,
        f"Accuracy and energy of inference on {place(report.environment)}",
        [_figure(report, rows, *group) for group, rows in groups.items()],
        [_LEGEND, *report.notes, *left_out],
    )


def _figure(report: InferenceReport, rows: list[InferenceRow], size: int, kind: str, component: str) -> dict[str, Any]:
    unit, per_j = common_unit(map(_joules, rows))
    runtimes = list(dict.fromkeys(row.variant.runtime for row in report.rows))
    data = []
    front = sorted((row for row in report.front(size) if row in rows), key=_joules)
    if len(front) > 1:
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "front",
                "x": [_joules(row) * per_j for row in front],
                "y": [report.facts_of(row.variant).accuracy for row in front],
                "line": {"shape": "hv", "color": "#9aa1a8", "dash": "dot"},
                "hoverinfo": "skip",
            }
        )
    for runtime in dict.fromkeys(row.variant.runtime for row in rows):
        chosen = [row for row in rows if row.variant.runtime == runtime]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": runtime,
                "x": [_joules(row) * per_j for row in chosen],
                "y": [report.facts_of(row.variant).accuracy for row in chosen],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [(row.image_j.high - row.image_j.value) * per_j if row.image_j else 0.0 for row in chosen],
                    "arrayminus": [
                        (row.image_j.value - row.image_j.low) * per_j if row.image_j else 0.0 for row in chosen
                    ],
                    "thickness": 1,
                },
                "marker": {
                    "size": 11,
                    "color": COLOURS[runtimes.index(runtime) % len(COLOURS)],
                    "symbol": [_symbol(row) for row in chosen],
                },
                "hovertext": [_hover(row) for row in chosen],
                "hoverinfo": "text",
            }
        )
    x = f"{unit} an image at batch size {size} ({kind}, {component})"
    shape = layout(x, f"{report.split} accuracy")
    shape["xaxis"]["type"] = "log"
    return {"data": data, "layout": shape}


def _joules(row: InferenceRow) -> float:
    return row.image_j.value if row.image_j else 0.0


def _symbol(row: InferenceRow) -> str:
    """The compression's marker; open where the precision is not float32."""
    return _SYMBOLS[row.variant.compression] + ("" if row.variant.precision == "float32" else "-open")


def _hover(row: InferenceRow) -> str:
    ratio = f"<br>{row.ratio.value:.2f} of the baseline" if row.ratio else ""
    return f"{escape(str(row.variant), quote=False)}<br>{1e3 * _joules(row):.4g} mJ {row.kind}{ratio}"
