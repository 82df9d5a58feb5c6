"""How well training energy is predicted: GreenNAS's predictor beside the surrogate that EC-NAS's authors published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from greennas.predictors import EnergyPredictor
from greennas.report.plots import Axis, Figure, layout, line, markers
from greennas.reproduce import published
from greennas.reproduce.result import Cell, Grid, Line, Section
from greennas.reproduce.trainings import Array, Data
from greennas.tabular import Table

SEED = 42
"""Of the published split."""
FEW = 100
_BATCH_SIZE = 256  # of the published trainings
_WH = 3600.0


def surrogate(data: Data) -> Section | None:
    """Prediction errors on the published test split; None without trainings to learn from."""
    tables: dict[str, Table] = {}
    for each in data.trainings:
        if each.space == "5V" and each.epochs == published.BUDGETS[0] and each.table is not None:
            tables.setdefault("5V", each.table)
    if data.surrogate is not None:
        tables["7V"] = data.surrogate
    lines: list[Line] = []
    rows: list[list[Cell]] = []
    figures: list[Figure] = []
    for space, table in sorted(tables.items(), reverse=True):
        parts = split(len(table))
        if space == "7V":
            lines += _split_lines(parts)
        profiles = [table.space.profile(params, batch_size=_BATCH_SIZE) for params in table.params.values()]
        joules = np.array([np.mean([row["train_energy_j"] for row in group]) for group in table.rows.values()])
        train, _, test = parts
        for count in (FEW, len(train)):
            fitted = EnergyPredictor().fit([profiles[i] for i in train[:count]], joules[train[:count]])
            predicted = fitted.predict([profiles[i] for i in test])
            figures_ = _errors(predicted.mean_j, joules[test])
            inside = (predicted.low_j <= joules[test]) & (joules[test] <= predicted.high_j)
            rows.append([space, "GreenNAS", count, *figures_, f"{inside.mean():.1%}"])
        for how, (error, tau) in published.PERCEPTRON[space].items():
            rows.append([space, f"published network, {how}", len(train), None, error, None, tau, None])
        rows += _study_rows(space, len(table), len(train))
        figures.append(_figure(space, predicted.mean_j, joules[test]))
    if not rows:
        return None
    text = (
        f"The published split (seed {SEED}: 70% training, 10% validation, 20% test), judged on the test split. The "
        f"published network's rows and those of 'its study' are of {published.STUDY}; nothing is trained here. The "
        "article shows its surrogate's quality in figure 2 and prints no number."
    )
    columns = ["space", "predictor", "trainings", "MAE (Wh)", "MAPE (%)", "R2", "Kendall's tau", "in the 90% interval"]
    return Section("surrogate", "Predicted energy", text, lines, [Grid("Test split", columns, rows)], figures)


def split(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Indices of training, validation and test, drawn as the authors' code draws them."""
    sizes = [int(0.7 * count), int(0.1 * count)]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SEED)).numpy()
    first, second = sizes[0], sum(sizes)
    return order[:first], order[first:second], order[second:]


def _split_lines(parts: Sequence[NDArray[np.int64]]) -> list[Line]:
    names = ("training", "validation", "test")
    note = "the article rounds; its code cuts 70% and 10% down to whole numbers"
    return [
        Line(f"7V: networks for {name}", len(part), f"{len(part):,}", known, note)
        for name, part, known in zip(names, parts, published.SURROGATE_SPLIT, strict=True)
    ]


def _study_rows(space: str, networks: int, trainings: int) -> list[list[Cell]]:
    """What GreenNAS's own study says of its predictor, where these are its data; no published number to agree with."""
    if networks != {"7V": 4310, "5V": 2532}[space]:
        return []
    error, tau = published.OUR_STUDY[space]
    return [[space, "GreenNAS, as its study says", trainings, None, error, None, tau, None]]


def _errors(predicted: Array, measured: Array) -> tuple[float, float, float, float]:
    """Mean absolute error in Wh, mean absolute percentage error, R2 and Kendall's tau."""
    residual = predicted - measured
    return (
        float(np.abs(residual).mean() / _WH),
        float(100 * np.abs(residual / measured).mean()),
        float(1 - (residual**2).sum() / ((measured - measured.mean()) ** 2).sum()),
        float(kendalltau(predicted, measured).statistic),
    )


def _figure(space: str, predicted: Array, measured: Array) -> Figure:
    x, y = measured / _WH, predicted / _WH
    axis = Axis.of("wh", [*x.tolist(), *y.tolist()], log=True)
    points = [(axis.place(float(a)), axis.place(float(b))) for a, b in zip(x, y, strict=True)]
    texts = [f"measured {a:.3g} Wh, predicted {b:.3g} Wh" for a, b in points]
    ends = (float(min(x.min(), y.min())), float(max(x.max(), y.max())))
    data = [
        line("equal", [(end, end) for end in ends], {"color": "$line", "width": 1}),
        markers("test split", points, texts, {"color": "$accent", "size": 5}),
    ]
    return Figure(
        f"predicted-{space}",
        f"{space}: predicted against measured energy",
        f"Predicted against measured training energy of {len(x):,} networks that were not learnt from.",
        "Test split; the line is where both are equal.",
        data,
        layout(
            axis.layout() | {"title": {"text": "measured (Wh)"}},
            axis.layout() | {"title": {"text": "predicted (Wh)"}},
            height=360,
        ),
    )
