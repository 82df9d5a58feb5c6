from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from greennas.config import load_config
from greennas.errors import ConfigError
from greennas.grid import country_grid, find_grid


def table() -> list[dict[str, str]]:
    lines = files("greennas").joinpath("grid_intensity.csv").read_text(encoding="utf-8").splitlines()
    assert "CC BY 4.0" in " ".join(line for line in lines if line.startswith("#"))
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_every_country_of_the_table_is_found_in_each_way_to_write_it() -> None:
    rows = table()
    assert len(rows) > 200
    assert len({row["code"] for row in rows}) == len({row["code2"] for row in rows}) == len(rows)
    for row in rows:
        for text in (row["code"], row["code2"].lower(), row["country"].upper(), f" {row['country']} "):
            grid = find_grid(text)
            assert grid.g_per_kwh == float(row["g_per_kwh"])
            assert (grid.code, grid.location) == (row["code"], row["country"])
            assert row["year"] in grid.source
        assert 0 < float(row["g_per_kwh"]) < 1500
        assert 2021 <= int(row["year"]) <= 2026


def test_some_values_are_those_of_the_source() -> None:
    """Our World in Data's figures for 2023, as published."""
    assert country_grid("France").g_per_kwh == 56.039
    assert country_grid("DE").g_per_kwh == 380.95
    assert country_grid("swe").g_per_kwh == 40.695


@pytest.mark.parametrize("text", ["360", 360, "3.6e2", " 360 "])
def test_figures_are_taken_as_they_are(text: str | float) -> None:
    grid = find_grid(text)
    assert (grid.g_per_kwh, grid.source, grid.location) == (360.0, "given by the user", "")


@pytest.mark.parametrize("text", ["0", "-5", "nan", "inf"])
def test_figures_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match="above 0 g/kWh"):
        find_grid(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("Atlantis", "no grid intensity for 'Atlantis'; give"), ("germny", "Germany, DEU"), ("", "''"), ("CAF", "'CAF'")],
)
def test_unknown_countries_are_an_error(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_grid(text)


def test_country_in_the_settings() -> None:
    energy = load_config(assignments=["energy.country=norway"]).energy
    assert energy.country == "NOR"
    assert energy.grid is not None
    assert energy.grid.location == "Norway"
    both = load_config(assignments=["energy.country=NO", "energy.grid_intensity_g_per_kwh=12"]).energy.grid
    assert both is not None
    assert (both.g_per_kwh, both.location, both.source) == (12.0, "Norway", "given by the user")
    assert load_config().energy.grid is None
    with pytest.raises(ConfigError, match="no grid intensity for 'Atlantis'"):
        load_config(assignments=["energy.country=Atlantis"])
