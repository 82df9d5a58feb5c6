"""What the command line shows of search spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from greennas.cli.terminal import table
from greennas.testing import Finding, Level


def show_spaces(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """The installed search spaces."""
    shown = table()
    for name in ("space", "architectures", "options", "what it is"):
        shown.add_column(name)
    for row in rows:
        options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
        size = "" if row["size"] is None else f"{row['size']:,}" if row["size"] < 1e9 else f"{row['size']:.1e}"
        shown.add_row(row["name"], size, options, row["summary"])
    console.print(shown)


def show_checks(console: Console, name: str, findings: Sequence[Finding]) -> None:
    """What the conformance suite found, and what to mend."""
    for finding in findings:
        console.print(f"{finding.level:>8}  {finding.check}: {finding.text}", markup=False, highlight=False)
        if finding.remedy:
            console.print(f"          {finding.remedy}", markup=False, highlight=False)
    wrong = sum(finding.level is Level.ERROR for finding in findings)
    verdict = f"{wrong} to mend" if wrong else "a search can use it"
    console.print(f"{name}: {verdict}.", markup=False, highlight=False)
