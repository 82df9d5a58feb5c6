"""The figure of ``greennas bench llm``: joules an output token, prefill and decoding stacked."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

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
    left_out = [f"{what} did not run: {reason}" for what, reason in report.unavailable]
    left_out += [f"{row.setting}: energy unavailable" for row in report.rows if row.token_j is None]
    device = f"{report.environment['device_name']}, {report.environment['threads']} threads"
    write_page(
        path,
        f"Energy of text generation on {device}",
        [_figure(rows, *group) for group, rows in groups.items()],
        [*report.notes, *left_out],
    )


def _figure(rows: list[GenerationRow], kind: str, component: str) -> dict[str, Any]:
    names = [escape(str(row.setting), quote=False) for row in rows]
    totals_j = [row.token_j.value if row.token_j else 0.0 for row in rows]
    prefill_j = [row.prefill_j.value / row.setting.output_tokens if row.prefill_j else 0.0 for row in rows]
    decode_j = [max(total - part, 0.0) for total, part in zip(totals_j, prefill_j, strict=True)]
    up_j = [row.token_j.high - row.token_j.value if row.token_j else 0.0 for row in rows]
    down_j = [row.token_j.value - row.token_j.low if row.token_j else 0.0 for row in rows]
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "name": "prefill",
            "y": names,
            "x": prefill_j,
            "marker": {"color": COLOURS[1]},
        },
        {
            "type": "bar",
            "orientation": "h",
            "name": "decoding",
            "y": names,
            "x": decode_j,
            "marker": {"color": COLOURS[0]},
            "error_x": {"type": "data", "symmetric": False, "array": up_j, "arrayminus": down_j, "thickness": 1},
        },
    ]
    title = f"joules an output token ({kind}, {component})"
    shape = layout(title, "", barmode="stack", height=160 + 28 * len(rows))
    shape["yaxis"]["autorange"] = "reversed"
    return {"data": bars, "layout": shape}
