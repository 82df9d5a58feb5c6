"""Carbon intensity of the grid: a figure, or a country's yearly mean out of the bundled table, without the network."""

from __future__ import annotations

import csv
import difflib
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from greennas.errors import ConfigError

_TABLE = "grid_intensity.csv"
_HELP = "give its ISO 3166 code or English name, or a figure in g/kWh"


@dataclass(frozen=True)
class Grid:
    """Carbon intensity of an electricity grid.

    Attributes:
        g_per_kwh: grams of CO2 equivalent per kilowatt-hour, above 0.
        source: where the figure comes from, with its year.
        location: the country's name; empty for a figure that somebody gave.
        code: the country's ISO 3166-1 alpha-3 code; empty likewise.
    """

    g_per_kwh: float
    source: str
    location: str = ""
    code: str = ""


def find_grid(text: str | float) -> Grid:
    """The grid that a user means.

    Args:
        text: grams of CO2 equivalent per kWh, or a country: ISO 3166-1 alpha-2 or alpha-3 code or English name,
            in any case.

    Raises:
        ConfigError: not above 0, or no such country in the table.
    """
    try:
        figure = float(text)
    except ValueError:
        return country_grid(str(text))
    if not (figure > 0 and math.isfinite(figure)):
        raise ConfigError(f"A grid intensity must be above 0 g/kWh, but is {text}; leave it out if unknown.")
    return Grid(figure, "given by the user")


def country_grid(name: str) -> Grid:
    """The yearly mean of a country: as for ``find_grid``, without figures.

    Raises:
        ConfigError: no such country in the table.
    """
    known = _countries()
    wanted = name.strip().casefold()
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.75)
        hint = f" (did you mean {known[close[0]].location}, {known[close[0]].code}?)" if close else ""
        raise ConfigError(f"There is no grid intensity for {name!r}{hint}; {_HELP}.")
    return known[wanted]


@cache
def _countries() -> dict[str, Grid]:
    """Grids by every way to write their country, in lower case."""
    lines = files("greennas").joinpath(_TABLE).read_text(encoding="utf-8").splitlines()
    known: dict[str, Grid] = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        source = f"Ember and Energy Institute via Our World in Data, CC BY 4.0; {row['country']}, {row['year']}"
        grid = Grid(float(row["g_per_kwh"]), source, row["country"], row["code"])
        for key in (row["code"], row["code2"], row["country"]):
            known[key.casefold()] = grid
    return known
