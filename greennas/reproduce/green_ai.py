"""Green AI's price of a result, E x D x H (Schwartz et al. 2020), of search runs at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greennas.carbon import SearchCost
from greennas.energy import format_energy
from greennas.price_tag import sentences
from greennas.reproduce.result import Cell, Grid, Line, Reproduction, Section
from greennas.results import SearchResult
from greennas.run import RunFolder

_FORMULA = "Schwartz, Dodge, Smith and Etzioni, Green AI, Communications of the ACM 63(12), 2020, equation 1"


def reproduce_green_ai(runs: Sequence[str | Path]) -> Reproduction:
    """The price tag of each run, its product held against the meter.

    Raises:
        RunError: a folder is no run.
    """
    rows: list[list[Cell]] = []
    sections = []
    for number, path in enumerate(runs):
        folder = RunFolder.open(Path(path))
        cost = SearchResult(folder.config, folder.read_study(), folder.path).cost
        price = cost.price()
        if price is not None:
            energy = format_energy(price.energy_per_example_j)
            rows.append(
                [
                    str(path),
                    f"{price.component}, {price.kind}",
                    f"{energy} an example",
                    round(price.examples),
                    price.trials,
                    format_energy(price.product_j),
                    format_energy(price.metered_j),
                    price.ratio,
                ]
            )
        sections.append(Section(f"run-{number}", str(path), " ".join(sentences(cost)), list(_lines(cost))))
    columns = ["run", "device, kind", "E", "D, examples", "H, trainings", "E x D x H", "metered", "times as much"]
    overview = Section(
        "price",
        "E x D x H",
        "Cost is proportional to the cost of one example, times the examples of a training, times the trainings. What "
        "was metered beyond that went into stopped and failed trainings, probes, evaluation and the search itself.",
        grids=[Grid("Price tags", columns, rows)] if rows else [],
    )
    about = f"The price of a result after {_FORMULA}. The article gives the equation, and no joules to compare with."
    return Reproduction(
        "green-ai", "Green AI: the price of the runs at hand", about, list(map(str, runs)), [overview, *sections]
    )


def _lines(cost: SearchCost) -> list[Line]:
    """The bill against the meters that ran over whole sessions, and what the equation leaves out."""
    lines = []
    for each in cost.reconciliation():
        if each.ratio is not None:
            note = "1 is the whole bill"
            lines.append(
                Line(f"{each.component}: entries over metered total", each.ratio, f"{each.ratio:.3f}", note=note)
            )
    if (price := cost.price()) is not None:
        lines.append(Line("metered over E x D x H", price.ratio, f"{price.ratio:.2f}"))
    return lines
