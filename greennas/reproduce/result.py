"""What a reproduction finds: numbers beside published ones, tables and figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from greennas.report.plots import Figure
from greennas.report.words import number

MATCHES, DIFFERS, NONE = "matches", "differs", "no published number at hand"
_LARGE = 10_000
Cell = str | int | float | None


@dataclass(frozen=True)
class Published:
    """A published number, and how near to it a finding has to be.

    Attributes:
        text: as it was published.
        low: least value that agrees with it.
        high: largest value that agrees with it.
        source: where it stands.
    """

    text: str
    low: float
    high: float
    source: str

    @classmethod
    def printed(cls, text: str, source: str) -> Published:
        """A number that agrees with whatever rounds to it: half a unit of its last printed digit is allowed."""
        value, decimals = float(text), len(text.partition(".")[2])
        half = 0.5 * 10.0**-decimals * (1 + 1e-9)
        return cls(text, value - half, value + half, source)


@dataclass(frozen=True)
class Line:
    """One number.

    Attributes:
        what: what it is.
        found: value; NaN where it cannot be told.
        text: value as shown, with its unit.
        published: what was published; None where no number is at hand.
        note: why it differs, or how to read it.
    """

    what: str
    found: float
    text: str
    published: Published | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether it agrees with the published number."""
        if self.published is None:
            return NONE
        return MATCHES if self.published.low <= self.found <= self.published.high else DIFFERS

    @property
    def within(self) -> str:
        """What agrees with the published number, in words."""
        if self.published is None:
            return ""
        return f"{self.published.low:.6g} to {self.published.high:.6g}"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        known = self.published
        return {
            "what": self.what,
            "found": _number(self.found),
            "text": self.text,
            "published": known.text if known else None,
            "within": [known.low, _number(known.high)] if known else None,
            "source": known.source if known else None,
            "verdict": self.verdict,
            "note": self.note,
        }


@dataclass(frozen=True)
class Grid:
    """A table: headings and rows of cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def texts(self) -> list[list[str]]:
        """The cells as shown."""
        return [[_shown(cell) for cell in row] for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        rows = [[_number(cell) if isinstance(cell, float) else cell for cell in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": rows}


@dataclass(frozen=True)
class Section:
    """One question and its answer.

    Attributes:
        identity: short name, unique in a reproduction.
        title: heading.
        text: what was done and how to read it, sentences.
        lines: numbers beside published ones.
        grids: tables.
        figures: for the page.
    """

    identity: str
    title: str
    text: str = ""
    lines: Sequence[Line] = ()
    grids: Sequence[Grid] = ()
    figures: Sequence[Figure] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, without the figures."""
        return {
            "id": self.identity,
            "title": self.title,
            "text": self.text,
            "lines": [line.to_json() for line in self.lines],
            "tables": [grid.to_json() for grid in self.grids],
        }


@dataclass(frozen=True)
class Reproduction:
    """All that was found.

    Attributes:
        name: what ``greennas reproduce`` was asked for.
        title: heading.
        about: what is reproduced, sentences.
        sources: files that were read, and what is missing.
        sections: in order.
    """

    name: str
    title: str
    about: str
    sources: Sequence[str]
    sections: Sequence[Section] = field(repr=False)

    @property
    def verdicts(self) -> Mapping[str, int]:
        """How many lines match, differ, or have no published number at hand."""
        return Counter(line.verdict for section in self.sections for line in section.lines)

    @property
    def summary(self) -> str:
        """The verdicts in one sentence."""
        count = self.verdicts
        if set(count) == {NONE}:
            return f"No published number is at hand for the {count[NONE]} numbers here."
        return f"{count[MATCHES]} numbers match the published ones, {count[DIFFERS]} differ, {count[NONE]} have none."

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, without the figures."""
        return {
            "name": self.name,
            "title": self.title,
            "about": self.about,
            "sources": list(self.sources),
            "summary": dict(self.verdicts),
            "sections": [section.to_json() for section in self.sections],
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def readable(value: float) -> str:
    """Four significant digits; large values with an SI suffix in place of an exponent."""
    return f"{value:.4g}" if abs(value) < _LARGE else number(value)


def _shown(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return readable(cell) if isinstance(cell, float) else cell
