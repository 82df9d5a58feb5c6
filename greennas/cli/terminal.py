"""What the modules of the command line share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from greennas.errors import ConfigError

console = Console(soft_wrap=True)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in space_options.width=8.")
]
GridOption = Annotated[
    str | None,
    typer.Option(metavar="COUNTRY|G_PER_KWH", help="For gCO2e: a country (DE, FRA, Norway) or grams of CO2e per kWh."),
]
PueOption = Annotated[float | None, typer.Option(help="Power usage effectiveness of the data centre. (default: 1)")]


def emit(data: Any) -> None:
    """Print ``data`` as JSON."""
    print(json.dumps(data, indent=2, default=str))


def space_path(space: str | None) -> str | None:
    """A space file by its absolute path, so that workers and later commands find it from anywhere."""
    if space is not None and space.endswith(".py"):
        return str(Path(space).expanduser().absolute())
    return space


def table(title: str | None = None) -> Table:
    """A table that fits into 80 columns."""
    return Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )


def engineering(value: float) -> str:
    """``value`` to three digits with its unit prefix, a space before it."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def space_options(assignments: list[str] | None) -> dict[str, Any]:
    """Options of a space out of ``--set space_options.NAME=VALUE``.

    Raises:
        ConfigError: another setting.
    """
    from greennas.config import parse_assignments

    options = {}
    for key, value in parse_assignments(assignments or []):
        group, _, name = key.partition(".")
        if group != "space_options" or not name:
            raise ConfigError(f"There is no setting {key!r} here; only options of the space, as space_options.width=8.")
        options[name] = value
    return options
