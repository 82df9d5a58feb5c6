"""What the command line shows of a reproduction."""

from __future__ import annotations

from rich.console import Console

from greennas.cli.terminal import table
from greennas.reproduce import Reproduction
from greennas.reproduce.result import MATCHES

_MANY = 30
"""Of more lines in a section, those that match are only counted."""


def show_reproduction(console: Console, found: Reproduction) -> None:
    """Each section's sentences, its numbers beside the published ones, and its tables."""
    console.print(found.title, style="bold", markup=False)
    for text in (found.about, *found.sources):
        console.print(text, markup=False, highlight=False)
    for section in found.sections:
        console.print(f"\n{section.title}", style="bold", markup=False)
        if section.text:
            console.print(section.text, markup=False, highlight=False)
        lines = section.lines
        if len(lines) > _MANY:
            lines = [line for line in lines if line.verdict != MATCHES]
            console.print(f"{len(section.lines) - len(lines)} numbers match; the others:", highlight=False)
        if lines:
            shown = table()
            for column in ("number", "found", "published", "verdict"):
                shown.add_column(
                    column, justify="left" if column in ("number", "verdict") else "right", overflow="fold"
                )
            for line in lines:
                known = line.published.text if line.published else ""
                shown.add_row(line.what, line.text, known, f"{line.verdict}{f'; {line.note}' if line.note else ''}")
            console.print(shown)
        for grid in section.grids:
            shown = table(grid.title)
            for column in grid.columns:
                shown.add_column(column, overflow="fold")
            for row in grid.texts():
                shown.add_row(*row)
            console.print(shown)
    console.print(f"\n{found.summary}", markup=False, highlight=False)
