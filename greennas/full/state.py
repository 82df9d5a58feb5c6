"""A training to the end on disk: where it stands, in one file that is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from greennas.energy import Reading
from greennas.errors import DataError, RunError
from greennas.tensorfile import read_tensors, write_tensors
from greennas.trainer import RungReport
from greennas.training.loop import LoopState

FORMAT = "greennas-training-1"
STATE = "state.safetensors"


@dataclass
class Progress:
    """What a training has reached so far.

    Attributes:
        history: the report of each epoch.
        best: of ``history``, the one with the best validation accuracy; of equals the one with the least loss.
        best_weights: of that epoch.
        readings: all energy so far, by what for.
    """

    history: list[RungReport] = field(default_factory=list)
    best: RungReport | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    readings: dict[str, tuple[Reading, ...]] = field(default_factory=dict)

    def add(self, report: RungReport, weights: Mapping[str, Tensor]) -> None:
        """Take in an epoch's report, and its weights if they are the best so far."""
        self.history.append(report)
        if self.best is None or (report.accuracy, -report.loss) > (self.best.accuracy, -self.best.loss):
            self.best = report
            self.best_weights = {name: value.detach().cpu().clone() for name, value in weights.items()}

    @property
    def all_readings(self) -> list[Reading]:
        """The readings of all phases."""
        return [reading for readings in self.readings.values() for reading in readings]


def write_state(folder: Path, settings: Mapping[str, Any], loop: LoopState, progress: Progress) -> None:
    """Write where the training stands; what stood there is replaced as a whole.

    Args:
        folder: of the training.
        settings: what a training that goes on must have the same of; JSON-ready.
        loop: of its steps.
        progress: what it has reached.
    """
    tensors = {f"loop.{name}": value for name, value in loop.tensors.items()}
    tensors |= {f"best.{name}": value for name, value in progress.best_weights.items()}
    facts = {
        "settings": dict(settings),
        "loop": loop.facts,
        "history": [asdict(report) for report in progress.history],
        "best": progress.history.index(progress.best) if progress.best else None,
        "readings": {phase: [each.to_json() for each in found] for phase, found in progress.readings.items()},
    }
    write_tensors(folder / STATE, tensors, {"format": FORMAT, "facts": json.dumps(facts)})


def read_state(folder: Path, settings: Mapping[str, Any]) -> tuple[LoopState, Progress] | None:
    """Where the training of ``folder`` stands; None where it has not got through an epoch yet.

    What a kill left of a file that was being written is removed.

    Raises:
        RunError: it was begun with other settings.
        DataError: the file is damaged or of another version.
    """
    file = folder / STATE
    for torn in folder.glob(f".{STATE}.*.tmp"):
        torn.unlink(missing_ok=True)
    if not file.is_file():
        return None
    tensors, metadata = read_tensors(file)
    try:
        if metadata["format"] != FORMAT:
            raise ValueError(f"of the format {metadata['format']}")
        facts = json.loads(metadata["facts"])
        begun = facts["settings"]
        history = [RungReport(**report) for report in facts["history"]]
        progress = Progress(
            history,
            None if facts["best"] is None else history[facts["best"]],
            _part(tensors, "best."),
            {phase: tuple(map(Reading.from_json, found)) for phase, found in facts["readings"].items()},
        )
        loop = LoopState(_part(tensors, "loop."), facts["loop"])
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{file} is not the state of a training ({error!r}); remove it to begin again.") from error
    plain = json.loads(json.dumps(settings))
    if changed := sorted(name for name in plain.keys() | begun.keys() if plain.get(name) != begun.get(name)):
        raise RunError(
            f"The training in {folder} was begun with other settings ({', '.join(changed)}); give the same ones to go "
            "on with it, or choose another --out."
        )
    return loop, progress


def _part(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}
