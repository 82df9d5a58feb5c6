"""Commands about search spaces: list them, begin one, check one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greennas.cli.terminal import JsonFlag, SetOption, console, emit, space_options, space_path

app = typer.Typer(help="Search spaces: list the installed ones, begin one, check one.", invoke_without_command=True)


@app.callback()
def spaces(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List the search spaces that are installed; with a command begin one, or check one."""
    from greennas.cli import display_spaces
    from greennas.space import available_spaces, load_space

    if context.invoked_subcommand is not None:
        return
    found = [load_space(point.name) for point in available_spaces()]
    rows = [{"name": s.name, "size": s.size, "options": s.default_options, "summary": s.summary} for s in found]
    emit(rows) if as_json else display_spaces.show_spaces(console, rows)


@app.command()
def new(file: Annotated[Path, typer.Argument(metavar="FILE.py", help="The file to write.")]) -> None:
    """Write a commented search space that runs as it is."""
    from greennas.space_template import write_template

    path = write_template(file)
    console.print(
        f"Wrote {path}. Search it with:\n  greennas search --space {path} --trials 6\n"
        f"and, once it is yours, check it with:\n  greennas spaces check {path}",
        markup=False,
        highlight=False,
    )


@app.command()
def check(
    space: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A Python file, or the name of a search space.")],
    set_: SetOption = None,
    samples: Annotated[int, typer.Option(min=2, help="Networks to sample.")] = 200,
    networks: Annotated[int, typer.Option(min=1, help="How many of them to run.")] = 6,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(metavar="C,H,W", help="Shape of the images; may be repeated. (default: 1,8,8 and 3,32,32)"),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="Classes to tell apart.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Check all that a search expects of a space, and say what to mend; exit code 1 if something has to be."""
    from greennas.cli import display_spaces
    from greennas.predict import parse_image_shape
    from greennas.space import load_space
    from greennas.testing import Level, examine_space
    from greennas.testing.suite import SHAPES

    loaded = load_space(space_path(space) or space, **space_options(set_))
    shapes = [parse_image_shape(text) for text in input_shape or []] or SHAPES
    found = examine_space(loaded, samples=samples, networks=networks, shapes=shapes, num_classes=classes, seed=seed)
    wrong = any(finding.level is Level.ERROR for finding in found)
    if as_json:
        emit({"space": loaded.source, "ok": not wrong, "findings": [finding.to_json() for finding in found]})
    else:
        display_spaces.show_checks(console, loaded.name, found)
    raise typer.Exit(1 if wrong else 0)
