"""What the command line tells of a search that goes on."""

from __future__ import annotations

from report_studies import StudyMaker

from greennas.cli.display_search import progress_lines
from greennas.loop import Progress


def test_progress_names_no_hypervolume_before_something_is_dominated() -> None:
    made = StudyMaker()
    made.add(accuracy=0.95, train_energy_j=54_980.0)
    assert "hypervolume" not in " ".join(progress_lines(Progress(made.result(), 0, 2, 1.0, None, None)))
    made.add(accuracy=0.9, train_energy_j=60_000.0)
    assert "hypervolume" in " ".join(progress_lines(Progress(made.result(), 0, 2, 1.0, None, None)))
