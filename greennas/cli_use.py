"""Commands for what a search has found: export and train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greennas.pick import CHOICES
from greennas.terminal import GridOption, JsonFlag, PueOption, console, emit

PickOption = Annotated[str | None, typer.Option(help=f"Which network of a run: {CHOICES}. (default: knee)")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(export)


def export(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|CHECKPOINT|DIR", help="A run folder, one of its checkpoints, a model folder.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The new folder.")],
    pick: PickOption = None,
    format_: Annotated[
        str, typer.Option("--format", help="all, or some of pytorch, python, pt2, onnx with commas between.")
    ] = "all",
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data set's published files.")] = None,
    grid_intensity: GridOption = None,
    pue: PueOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a network as a folder that stands alone, and check that it is the same network."""
    from greennas import display_use
    from greennas.export.folder import export_model

    done = export_model(
        source,
        to,
        pick=pick,
        formats=[format_],
        data_dir=None if data_dir is None else data_dir.expanduser(),
        grid_intensity=grid_intensity,
        pue=pue,
    )
    emit(done.to_json()) if as_json else display_use.show_export(console, done)
