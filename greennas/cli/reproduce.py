"""The command reproduce: paper experiments again, beside the published numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greennas.cli.terminal import JsonFlag, console, emit

if TYPE_CHECKING:
    from greennas.reproduce import Reproduction

app = typer.Typer(help="Paper experiments again, beside the published numbers.", invoke_without_command=True)
OutOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write report.md, result.json and report.html there.")
]


@app.callback()
def reproduce(
    context: typer.Context,
    list_: Annotated[bool, typer.Option("--list", help="Say what can be reproduced.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Reproduce the findings of a paper and hold them against its published numbers."""
    from greennas.reproduce import EXPERIMENTS

    if context.invoked_subcommand is not None:
        return
    if as_json:
        emit(EXPERIMENTS)
    else:
        for name, about in EXPERIMENTS.items():
            console.print(f"{name:>10}  {about}", markup=False, highlight=False)


@app.command()
def ecnas(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="A checkout of EC-NAS-Bench, or a folder with its published files.")
    ],
    vertices: Annotated[
        list[int] | None, typer.Option(min=4, max=7, help="Only this space; may be repeated. (default: 4, 5 and 7)")
    ] = None,
    out: OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """EC-NAS: its spaces, fronts, savings, search runs and surrogate, from its published data."""
    from greennas.reproduce import reproduce_ecnas

    _show(reproduce_ecnas(data.expanduser(), vertices or (4, 5, 7)), out, as_json)


@app.command(name="green-ai")
def green_ai(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of searches.")],
    out: OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Green AI: the price tag E x D x H of search runs, held against their meters."""
    from greennas.reproduce import reproduce_green_ai

    _show(reproduce_green_ai(runs), out, as_json)


def _show(found: Reproduction, out: Path | None, as_json: bool) -> None:
    from greennas.cli import display_reproduce
    from greennas.reproduce import write_all

    written = [] if out is None else write_all(found, out)
    if as_json:
        emit(found.to_json())
        return
    display_reproduce.show_reproduction(console, found)
    for path in written:
        console.print(f"Wrote {path}", markup=False, highlight=False)
