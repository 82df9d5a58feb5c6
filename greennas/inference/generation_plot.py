"""The figure of ``greennas bench llm``: joules an output token, prefill and decoding stacked."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from greennas.energy.units import common_unit
from greennas.inference.environment import did_not_run, place
from greennas.inference.generation_report import GenerationReport, GenerationRow
from greennas.inference.plot import COLOURS, layout, write_page


def write_plot(report: GenerationReport, path: Path) -> None:
    """Write the figure, one for each kind of joules, as an HTML file.

    Raises:
        ConfigError: it cannot be written.
    """
    groups: dict[tuple[str, str], list[GenerationRow]] = {}
    for row in report.rows:
        if row.token_j is not None:
            groups.setdefault((str(row.kind), row.component), []).append(row)
    left_out = did_not_run(report.unavailable)
    left_out += [f"{row.setting}: energy unavailable" for row in report.rows if row.token_j is None]
    write_page(
        path,
        f"Energy of text generation on {place(report.environment)}",
        [_figure(rows, *group) for group, rows in groups.items()],
        [*report.notes, *left_out],
    )


def _figure(rows: list[GenerationRow], kind: str, component: str) -> dict[str, Any]:
    names = [escape(str(row.setting), quote=False) for row in rows]
    unit, per_j = common_unit(row.token_j.value for row in rows if row.token_j)
    totals = [row.token_j.value * per_j if row.token_j else 0.0 for row in rows]
    prefill = [row.prefill_j.value / row.setting.output_tokens * per_j if row.prefill_j else 0.0 for row in rows]
    decode = [max(total - part, 0.0) for total, part in zip(totals, prefill, strict=True)]
    up = [(row.token_j.high - row.token_j.value) * per_j if row.token_j else 0.0 for row in rows]
    down = [(row.token_j.value - row.token_j.low) * per_j if row.token_j else 0.0 for row in rows]
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "name": "prefill",
            "y": names,
            "x": prefill,
            "marker": {"color": COLOURS[1]},
        },
        {
            "type": "bar",
            "orientation": "h",
            "name": "decoding",
            "y": names,
            "x": decode,
            "marker": {"color": COLOURS[0]},
            "error_x": {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1},
        },
    ]
    title = f"{unit} an output token ({kind}, {component})"
    shape = layout(title, "", barmode="stack", height=160 + 28 * len(rows))
    shape["yaxis"]["autorange"] = "reversed"
    return {"data": bars, "layout": shape}
