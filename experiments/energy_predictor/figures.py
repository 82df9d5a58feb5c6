"""Learning curves as tables and as one page of plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Rows = Sequence[Mapping[str, float]]
_DIGITS = {"mape": 2, "r2": 4, "tau": 3, "coverage": 3, "width": 1, "fit_s": 2}


def markdown(title: str, rows: Rows) -> str:
    """One method's learning curve; coverage with its standard error over the seeds."""
    head = "| n | runs | MAPE % | R2 | tau | coverage | width % | CPU s |"
    lines = [f"### {title}", "", head, "| --- |" + " --- |" * 7]
    for row in rows:
        cells = [f"{row[key]:.{digits}f}" if key in row else "-" for key, digits in _DIGITS.items()]
        if "coverage_se" in row:
            cells[3] += f" (±{row['coverage_se']:.3f})"
        lines.append(f"| {row['n']} | {row['runs']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def summary(title: str, results: Mapping[str, Rows]) -> str:
    """MAPE / tau of all methods beside each other, and the coverage of those that have one."""
    sizes = sorted({int(row["n"]) for rows in results.values() for row in rows})
    lines = [f"### {title}: MAPE % / tau, coverage", "", f"| n | {' | '.join(results)} |"]
    lines.append("| --- |" + " --- |" * len(results))
    for size in sizes:
        cells = [next((_cell(row) for row in rows if row["n"] == size), "-") for rows in results.values()]
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(row: Mapping[str, float]) -> str:
    mape = f"{row['mape']:.2f}" if "mape" in row else "-"
    covered = f", {row['coverage']:.3f}" if "coverage" in row else ""
    return f"{mape} / {row['tau']:.3f}{covered}"


def plot(tables: Mapping[str, Mapping[str, Rows]]) -> str:
    """MAPE, Kendall tau and coverage against the number of measured trainings, as one HTML page with plotly."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    kinds = {"mape": "MAPE, %", "tau": "Kendall tau", "coverage": "coverage of 90% intervals"}
    titles = [f"EC-NAS {name}: {kind}" for kind in kinds.values() for name in tables]
    figure = make_subplots(len(kinds), len(tables), subplot_titles=titles)
    methods = list(dict.fromkeys(method for results in tables.values() for method in results))
    shown = set()
    for column, results in enumerate(tables.values(), 1):
        for line, key in enumerate(kinds, 1):
            for method, rows in results.items():
                known = [row for row in rows if key in row and row["n"] > 0]
                if not known:
                    continue
                hue = methods.index(method) * 360 // len(methods)
                figure.add_scatter(
                    x=[row["n"] for row in known],
                    y=[row[key] for row in known],
                    name=method,
                    line={"color": f"hsl({hue}, 70%, 40%)", "width": 4 if method == methods[0] else 1.5},
                    legendgroup=method,
                    showlegend=method not in shown,
                    row=line,
                    col=column,
                )
                shown.add(method)
            figure.update_xaxes(type="log", title_text="measured trainings", row=line, col=column)
        figure.update_yaxes(type="log", row=1, col=column)
        figure.add_hrect(y0=0.88, y1=0.93, opacity=0.15, fillcolor="green", line_width=0, row=3, col=column)
    figure.update_layout(height=1200)
    assert isinstance(figure, go.Figure)
    return str(figure.to_html(include_plotlyjs=True))


def averaged(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the runs, and the standard error of the mean coverage where there are several."""
    row = {key: float(np.mean([run[key] for run in runs])) for key in _DIGITS if key in runs[0]}
    if "coverage" in row and len(runs) > 1:
        row["coverage_se"] = float(np.std([run["coverage"] for run in runs], ddof=1) / len(runs) ** 0.5)
    return row
