"""What a check finds: that all is well, or what is wrong and what to mend."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

_LONGEST = 300


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    ADVICE = "advice"
    """Searches work, but the space could be better."""
    ERROR = "error"
    """Searches fail or mislead."""


@dataclass(frozen=True)
class Finding:
    """One line of what the suite found.

    Attributes:
        check: which check.
        level: how much it matters.
        text: what was checked, or what is wrong, with an example.
        remedy: what to mend; empty for what is well.
    """

    check: str
    level: Level
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self) | {"level": str(self.level)}

    def __str__(self) -> str:
        return f"{self.level}: {self.check}: {self.text}{f' -> {self.remedy}' if self.remedy else ''}"


class Check:
    """Collects what one check finds; problems with one remedy become one finding with the first as its example."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._problems: dict[tuple[Level, str], list[str]] = {}

    @property
    def failed(self) -> bool:
        """Whether there were errors."""
        return any(level is Level.ERROR for level, _ in self._problems)

    def error(self, text: str, remedy: str) -> None:
        """Note something that has to be mended."""
        self._problems.setdefault((Level.ERROR, remedy), []).append(text)

    def advice(self, text: str, remedy: str) -> None:
        """Note something that could be better."""
        self._problems.setdefault((Level.ADVICE, remedy), []).append(text)

    def findings(self, well: str) -> list[Finding]:
        """All findings; one that says ``well`` where there was no problem."""
        if not self._problems:
            return [Finding(self._name, Level.OK, well)]
        return [
            Finding(self._name, level, f"{texts[0]}{_more(len(texts) - 1)}", remedy)
            for (level, remedy), texts in self._problems.items()
        ]


def _more(count: int) -> str:
    return f" (and {count} more like it)" if count else ""


def short(value: object) -> str:
    """``value`` in one line of bounded length; of an exception its type and message."""
    text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
