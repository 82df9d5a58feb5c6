"""Energy and durations as people write them: ``50kJ``, ``0.2 kWh``, ``300 J``; ``90s``, ``1.5h``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from greennas.errors import ConfigError

JOULES_PER_KWH = 3.6e6
_JOULES = {
    "mJ": 1e-3,
    "J": 1.0,
    "kJ": 1e3,
    "MJ": 1e6,
    "GJ": 1e9,
    "mWh": 3.6,
    "Wh": 3.6e3,
    "kWh": JOULES_PER_KWH,
    "MWh": 3.6e9,
}
# "mj" and "mwh" could mean milli or mega: they are the only spellings in which case must be right.
_UNAMBIGUOUS = {name.lower(): name for name in _JOULES if name.lower() not in ("mj", "mwh")}
_ENERGY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*")


def parse_duration(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``10m``, ``1.5h`` or ``1h30m``.

    Raises:
        ConfigError: another spelling, or not more than zero.
    """
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    seconds = sum(float(number) * units[unit] for number, unit in parts)
    if not re.fullmatch(r"(\d+(\.\d+)?\s*[smhd]?\s*)+", text.strip()) or not 0 < seconds < math.inf:
        raise ConfigError(f"{text!r} is not a duration; write for example 90s, 10m or 1.5h.")
    return seconds


def parse_energy(text: str | float) -> float:
    """Energy in joules.

    Args:
        text: a number and a unit (mJ, J, kJ, MJ, GJ, mWh, Wh, kWh, MWh), with or without a space between them.
            A bare number is taken as joules. Case matters for the prefix m or M only.

    Raises:
        ConfigError: not an energy, an unknown unit, or a negative or infinite energy.
    """
    if isinstance(text, (int, float)):
        joules = float(text)
    else:
        match = _ENERGY.fullmatch(text)
        unit = match[2] or "J" if match else ""
        name = unit if unit in _JOULES else _UNAMBIGUOUS.get(unit.lower())
        if match is None or name is None:
            raise ConfigError(f"{text!r} is not an energy; write a number and one of {', '.join(_JOULES)}, as in 50kJ.")
        joules = float(match[1]) * _JOULES[name]
    if not (math.isfinite(joules) and joules >= 0):
        raise ConfigError(f"{text!r} is not an energy; it must be finite and not negative, as in 50kJ.")
    return joules


def format_energy(joules: float | None, digits: int = 3) -> str:
    """Energy to read, in J up to 10 kJ, kJ up to 1 MJ, and kWh above; ``unavailable`` for None.

    Args:
        joules: energy in joules, or None where none could be read.
        digits: significant digits.
    """
    if joules is None:
        return "unavailable"
    for limit_j, unit in ((10.0, "mJ"), (1e4, "J"), (1e6, "kJ"), (math.inf, "kWh")):
        # Energies under 10 J keep the joule unless they are below a tenth of one.
        if unit == "mJ" and not 0 < abs(joules) < 0.1:
            continue
        if abs(joules) < limit_j:
            return f"{_significant(joules / _JOULES[unit], digits)} {unit}"
    return f"{joules} J"


def format_range(low_j: float | None, high_j: float | None, between: str = " - ") -> str:
    """Two energies in joules as a range to read; empty where one is unknown or both read the same."""
    low, high = format_energy(low_j), format_energy(high_j)
    return "" if low_j is None or high_j is None or low == high else f"{low}{between}{high}"


def common_unit(joules: Iterable[float]) -> tuple[str, float]:
    """The unit in which several energies are readable side by side: its name, and how many of it are a joule.

    Args:
        joules: the energies; the smallest one above 0 decides.
    """
    smallest_j = min((each for each in joules if each > 0), default=1.0)
    return ("J", 1.0) if smallest_j >= 0.1 else ("mJ", 1e3) if smallest_j >= 1e-4 else ("µJ", 1e6)


def _significant(value: float, digits: int) -> str:
    """The value with that many significant digits, without an exponent and without trailing zeros."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
