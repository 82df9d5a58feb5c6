"""EC-NAS (Bakhtiarifard, Igel and Selvan, ICASSP 2024), reproduced from its published data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greennas.reproduce import fronts, runs, statistics
from greennas.reproduce.published import CITATION
from greennas.reproduce.result import Reproduction
from greennas.reproduce.surrogate import surrogate
from greennas.reproduce.trainings import read


def reproduce_ecnas(folder: str | Path, vertices: Sequence[int] = (4, 5, 7)) -> Reproduction:
    """The article's findings from whatever of its data ``folder`` has, beside the published numbers.

    Args:
        folder: a checkout of EC-NAS-Bench, its TFRecord files, or a folder with published archives.
        vertices: spaces to look at; the 7-vertex TFRecord files take minutes.

    Raises:
        DataError: nothing of EC-NAS in the folder, or a damaged file.
    """
    data = read(Path(folder), vertices)
    found = [
        statistics.spaces(data.trainings),
        fronts.fronts(data.trainings),
        fronts.savings(data.trainings),
        runs.table_1(data.runs),
        runs.knees(data.runs),
        runs.hypervolumes(data.runs),
        statistics.correlations(data.trainings),
        surrogate(data),
        statistics.creation(data.trainings),
    ]
    about = f"Findings of {CITATION} from its published data. Nothing is trained but an energy predictor."
    sections = [section for section in found if section is not None]
    return Reproduction("ecnas", "EC-NAS, reproduced", about, data.sources, sections)
