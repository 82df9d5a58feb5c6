from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennas.energy import format_energy, parse_energy
from greennas.energy.units import common_unit
from greennas.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "joules"),
    [
        ("300J", 300.0),
        ("50kJ", 5e4),
        ("50 KJ", 5e4),
        ("0.2kWh", 7.2e5),
        ("0.2 kwh", 7.2e5),
        (".5 Wh", 1800.0),
        ("2MJ", 2e6),
        ("2mJ", 2e-3),
        ("1e3 J", 1e3),
        ("42", 42.0),
        (7, 7.0),
        ("0J", 0.0),
    ],
)
def test_parses_what_people_write(text: str | float, joules: float) -> None:
    assert parse_energy(text) == pytest.approx(joules)


@pytest.mark.parametrize("text", ["", "J", "5 cal", "-3J", "5 mj", "1e999J", "nan", "3 kWh/day", float("inf"), -1.0])
def test_refuses_what_is_no_energy(text: str | float) -> None:
    with pytest.raises(ConfigError, match="as in 50kJ"):
        parse_energy(text)


@given(st.floats(min_value=1e-6, max_value=1e15))
def test_formatting_can_be_parsed_back(joules: float) -> None:
    text = format_energy(joules, digits=6)
    assert parse_energy(text.replace(",", "")) == pytest.approx(joules, rel=1e-5)


def test_none_is_not_zero() -> None:
    assert format_energy(None) == "unavailable"
    assert format_energy(0.0) == "0 J"
    assert format_energy(7.2e5) == "720 kJ"
    assert format_energy(7.2e6) == "2 kWh"


@pytest.mark.parametrize(
    ("joules", "unit"), [((0.2, 500.0), "J"), ((0.05, 3.0), "mJ"), ((2e-5, 1.0), "µJ"), ((0.0, 0.01), "mJ"), ((), "J")]
)
def test_the_smallest_energy_decides_the_unit(joules: tuple[float, ...], unit: str) -> None:
    name, per_j = common_unit(joules)
    assert name == unit
    assert per_j == {"J": 1, "mJ": 1e3, "µJ": 1e6}[unit]
