"""Commands of the recipe book: build a table of all architectures, and ask one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from greennas.cli.terminal import JsonFlag, SetOption, console, emit, space_options, space_path
from greennas.errors import ConfigError

app = typer.Typer(help="Tables of architectures: build one of a whole space, and ask one.", no_args_is_help=True)


@app.command()
def build(
    space: Annotated[str, typer.Option(help="Name of a search space, or the path of a Python file.")],
    out: Annotated[Path, typer.Option(metavar="FILE.parquet|.csv", help="The table.")],
    vertices: Annotated[
        int | None, typer.Option(help="Of nasbench101: cells of at most so many; as --set space_options.vertices=N.")
    ] = None,
    set_: SetOption = None,
    input_shape: Annotated[str, typer.Option(help="Shape of one image: channels,height,width.")] = "3,32,32",
    classes: Annotated[int, typer.Option(min=1)] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a training batch.")] = 64,
    images: Annotated[int, typer.Option(min=1, help="Examples in an epoch.")] = 50_000,
    device_profile: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="A saved device profile. (default: this device's)")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. (default: one a core)")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write every architecture of a space with its costs and its predicted energy; goes on where it was stopped."""
    from greennas.cli import display_predict
    from greennas.device_profile import DeviceProfile, default_device, find
    from greennas.predict import parse_image_shape
    from greennas.recipe_build import BuildSettings
    from greennas.recipe_build import build as run

    shape = parse_image_shape(input_shape)
    saved = find(default_device()) if device_profile is None else DeviceProfile.load(device_profile)
    name = space_path(space) or space
    options = space_options(set_) | ({} if vertices is None else {"vertices": vertices})
    settings = BuildSettings(name, options, shape, classes, batch_size, images)
    with display_predict.counting("Building", quiet=as_json) as report:
        rows = run(settings, out, saved, workers, report)
    if as_json:
        emit({"path": str(out), "rows": rows, "device": saved.device if saved else None})
        return
    source = f"energy predicted for {saved.device}" if saved else "no energy: run 'greennas calibrate' for that"
    console.print(f"{rows:,} architectures in {out}; {source}.", markup=False, highlight=False)


@app.command()
def query(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .parquet file with a row an architecture.")],
    best: Annotated[str | None, typer.Option(metavar="COLUMN", help="What should be best, as accuracy.")] = None,
    under: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=LIMIT", help="At most so much, as energy_j=500 or energy_j=2kJ.")
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="All rows that are best for their cost.")] = False,
    within: Annotated[str | None, typer.Option(metavar="1%", help="The cheapest so close to the best.")] = None,
    change: Annotated[str | None, typer.Option(metavar="ID", help="Single changes of it that cost less.")] = None,
    cost: Annotated[str | None, typer.Option(metavar="COLUMN", help="The cost. (default: training energy)")] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 10,
    as_json: JsonFlag = False,
) -> None:
    """Ask a table: the best under a limit, the front, the cheapest near the best, or what to change."""
    from greennas.cli import display_predict
    from greennas.recipes import RecipeBook

    if sum([front, within is not None, change is not None]) > 1:
        raise ConfigError("Ask one thing at a time: --front, --within or --change.")
    if change is None and best is None:
        raise ConfigError("Say what should be best, as in --best accuracy, or ask with --change ID.")
    book = RecipeBook.read(file)
    limits = _limits(under or [])
    rows: list[dict[str, Any]]
    if change is not None:
        rows = book.changes(change, cost, best, limits)[:top]
    else:
        assert best is not None
        if front:
            rows = book.front(best, cost, limits)
        elif within is not None:
            rows = [book.cheapest_within(_share(within), best, cost, limits)]
        else:
            found = book.best(best, limits, top)
            rows = found if isinstance(found, list) else [found]
    if as_json:
        emit(rows)
        return
    shown = [book.column(best)] if best else []
    if change is not None or front or within is not None:
        shown.append(book.cost(cost))
    shown += [book.column(name) for name in limits]
    if change is not None:
        shown += ["saves_share", "change"]
    display_predict.show_rows(console, rows, list(dict.fromkeys(shown)), f"{book.name}: {len(book):,} rows")


def _limits(assignments: list[str]) -> dict[str, float]:
    from greennas.energy import parse_energy

    limits = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name:
            raise ConfigError(f"--under {assignment!r} is not COLUMN=LIMIT; write for example --under energy_j=500.")
        name = name.strip()
        try:
            limits[name] = float(value)
        except ValueError:
            if not name.endswith("_j"):
                raise ConfigError(f"--under {assignment!r} gives no number; write for example {name}=2e6.") from None
            limits[name] = parse_energy(value)
    return limits


def _share(text: str) -> float:
    try:
        share = float(text.rstrip("% ")) / 100 if text.strip().endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ConfigError(f"--within {text!r} is not a share; write for example --within 1%.")
    return share
