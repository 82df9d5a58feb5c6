"""Commands for what a search has found: export and train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greennas.cli.terminal import GridOption, JsonFlag, PueOption, console, emit
from greennas.pick import CHOICES

PickOption = Annotated[str | None, typer.Option(help=f"Which network of a run: {CHOICES}. (default: knee)")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(train)
    app.command()(export)


def train(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder of a finished search.")],
    pick: PickOption = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the train split. (default: ten times the search's)")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="PICK", help="Distil from this network of the run, as most-accurate.")
    ] = None,
    energy_budget: Annotated[str | None, typer.Option(help="End after the epoch that spends it, as in 50kJ.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="End after the epoch that spends it, as in 2h.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Compute threads on the CPU; the search's have one each.")] = 1,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data set's published files.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder. (default: RUN/trained/ID)")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As in training.learning_rate=0.1 or seed=1.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will cost, and stop.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a chosen network to the end; given again, it goes on where it was interrupted."""
    from greennas.cli import display_use
    from greennas.energy import parse_duration, parse_energy
    from greennas.full import prepare_training, train_to_the_end

    job = prepare_training(
        run,
        pick or "knee",
        epochs=epochs,
        teacher=teacher,
        assignments=set_ or [],
        data_dir=data_dir,
        out=out,
        threads=threads,
    )
    if dry_run:
        emit(job.whole_forecast.to_json()) if as_json else display_use.show_forecast(console, job)
        return
    if not as_json:
        display_use.show_forecast(console, job)
    try:
        done = train_to_the_end(
            job,
            energy_budget_j=None if energy_budget is None else parse_energy(energy_budget),
            time_budget_s=None if time_budget is None else parse_duration(time_budget),
            tell=display_use.teller(quiet=as_json),
        )
    except KeyboardInterrupt:
        display_use.teller(quiet=as_json)("Stopped; the same command goes on after the last whole epoch.")
        raise typer.Exit(130) from None
    emit(done.to_json()) if as_json else display_use.show_trained(console, done)


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
    from greennas.cli import display_use
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
