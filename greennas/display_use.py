"""What the commands show that use what a search has found."""

from __future__ import annotations

from rich.console import Console

from greennas.export.folder import Exported
from greennas.terminal import table


def show_export(console: Console, done: Exported) -> None:
    """The files, how they compare with the checkpoint, and how to load them."""
    about = done.description
    accuracy = ", ".join(f"{split} accuracy {value:.4f}" for split, value in about.accuracy.items())
    console.print(f"Exported {about.architecture.id} to {done.path} ({accuracy}).", markup=False, highlight=False)
    rows = table()
    for name in ("format", "largest difference", "same class", "test images"):
        rows.add_column(name, justify="left" if name == "format" else "right")
    for check in done.checks:
        rows.add_row(check.format, f"{check.difference:.2g}", f"{check.agreement:.2%}", f"{check.images:,}")
    console.print(rows)
    console.print("How to load it stands in its README.md.", highlight=False)
