"""From a run and a pick to a training: its settings, its folder, its teacher, what it will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from greennas.config import load_config, parse_assignments
from greennas.data import Dataset
from greennas.errors import ConfigError, RunError
from greennas.export.description import ModelDescription
from greennas.export.pretrained import DESCRIPTION
from greennas.export.source import open_finished
from greennas.full.forecast import Forecast, forecast
from greennas.full.state import STATE
from greennas.pick import pick as pick_trial
from greennas.prepare import prepare
from greennas.results import SearchResult, TrialRecord
from greennas.run import RunFolder
from greennas.setup import Setup
from greennas.trainer import TrainingPlan
from greennas.training.runtime import quickest

TRAINED = "trained"
_AUGMENTED = 16
"""Pixels a side from which images are shifted and mirrored: a shift of one pixel in eight is no small one."""
_LONGER = 10
"""Epochs of a full training for each of the search's."""


@dataclass(frozen=True, eq=False)
class Job:
    """A training to the end.

    Attributes:
        run: the run that the network is from.
        result: of its search.
        trial: the network's short training.
        setup: what the search worked with, and its settings with those of this training.
        plan: how the network is trained.
        out: folder for the trained network.
        forecast: what it will cost, without the training of a teacher.
        teacher: how the teacher is trained, or that it is trained already (its folder is a model folder then).
        device: as torch names it.
        threads: compute threads on the CPU.
    """

    run: RunFolder
    result: SearchResult
    trial: TrialRecord
    setup: Setup
    plan: TrainingPlan
    out: Path
    forecast: Forecast
    teacher: Job | None = None
    threads: int = 1

    @property
    def device(self) -> str:
        """Where it is trained, as torch names it."""
        return self.setup.devices[0]

    @property
    def dataset(self) -> Dataset:
        """What it is trained on, without the test split."""
        return replace(self.setup.images, test=None)

    @property
    def architecture_id(self) -> str:
        """Of the network."""
        return self.trial.architecture_id

    @property
    def whole_forecast(self) -> Forecast:
        """What it will cost with the training of its teacher, if that is still to be done."""
        return self.forecast if self.teacher is None or self.teacher.done else self.forecast + self.teacher.forecast

    @property
    def done(self) -> bool:
        """Whether the network lies trained in its folder."""
        return (self.out / DESCRIPTION).is_file()


def prepare_training(
    run: str | Path,
    pick: str = "knee",
    *,
    epochs: int | None = None,
    teacher: str | None = None,
    assignments: Sequence[str] = (),
    data_dir: Path | None = None,
    out: Path | None = None,
    threads: int = 1,
) -> Job:
    """Find the network, and check all that can be checked before the training.

    Args:
        run: folder of a finished search.
        pick: which network, as for ``greennas.pick.pick``.
        epochs: passes over the train split; default: ten times the search's.
        teacher: a pick, too: distil from that network, which is trained first unless it was before.
        assignments: further settings of the training, as in ``training.learning_rate=0.1``, or ``seed=1``.
        data_dir: folder of the data set's published files; default: where they lay in the search.
        out: folder for the trained network; default: ``trained/<id>`` in the run folder.
        threads: compute threads on the CPU; the search's trainings have one each.

    Raises:
        GreenNASError: the search is not finished, there is no such network, a setting is wrong, the network is trained
            already, or would be its own teacher.
    """
    folder, result = open_finished(Path(run))
    trial = pick_trial(result, pick)
    master = None if teacher is None else pick_trial(result, teacher)
    if master is not None and master.architecture_id == trial.architecture_id:
        raise ConfigError(f"{trial.architecture_id} cannot be its own teacher; choose another --teacher or --pick.")
    setup = _setup(folder, result, epochs, assignments, data_dir)
    home = folder.path / TRAINED
    # one that was distilled lies beside the same network trained without a teacher, or with another one
    name = trial.architecture_id if master is None else f"{trial.architecture_id}-by-{master.architecture_id}"
    if out is not None:
        _check_folder(out, trial.architecture_id)
    job = _job(folder, result, trial, setup, out or home / name, threads, master)
    if job.done:
        raise RunError(
            f"{trial.architecture_id} is trained already, in {job.out}; export it with "
            f"'greennas export {job.out} --to DIR', or choose another --out."
        )
    if master is None:
        return job
    return replace(job, teacher=_job(folder, result, master, setup, home / master.architecture_id, threads))


def _check_folder(out: Path, architecture_id: str) -> None:
    """Refuse a folder that is none, or that holds other things than this network's training."""
    there = next(part for part in (out, *out.absolute().parents) if part.exists())
    if not there.is_dir():
        raise ConfigError(f"{out} can be no folder, since {there} is a file; choose another --out.")
    if (out / DESCRIPTION).is_file():
        found = ModelDescription.read(out / DESCRIPTION).architecture.id
        if found != architecture_id:
            raise ConfigError(f"{out} holds another network, {found}; choose a new folder for --out.")
    elif there == out and not (out / STATE).is_file() and any(not file.name.startswith(".") for file in out.iterdir()):
        raise ConfigError(f"{out} is not empty; choose a new folder for --out.")


def _job(
    folder: RunFolder,
    result: SearchResult,
    trial: TrialRecord,
    setup: Setup,
    out: Path,
    threads: int,
    teacher: TrialRecord | None = None,
) -> Job:
    assert trial.architecture is not None
    params = trial.architecture.params
    plan = replace(setup.plan(params), rungs=(), schedule="cosine")
    searched = replace(setup, config=result.config).plan(params)
    cost = forecast(trial, searched, plan, setup.images, teacher)
    if plan.runtime == "auto":
        steps = plan.steps(len(setup.images.train))
        plan = replace(plan, runtime=quickest(torch.device(setup.devices[0]).type, steps, cost.seconds))
    return Job(folder, result, trial, setup, plan, out, cost, threads=threads)


def _setup(
    folder: RunFolder, result: SearchResult, epochs: int | None, assignments: Sequence[str], data_dir: Path | None
) -> Setup:
    for key, _ in parse_assignments(assignments):
        if key not in ("seed", "device") and (
            not key.startswith("training.") or key in ("training.rungs", "training.schedule")
        ):
            raise ConfigError(
                f"{key} is no setting of a full training; choose from training.* (no rungs or schedule), seed, device."
            )
    given: dict[str, Any] = {
        "training.epochs": epochs if epochs is not None else _LONGER * result.config.training.epochs,
        "training.rungs": (),
        "workers": 1,
        "data.dir": None if data_dir is None else str(data_dir.expanduser().absolute()),
    }
    named = {key for key, _ in parse_assignments(assignments)}
    if epochs is None and "training.epochs" in named:
        del given["training.epochs"]
    setup = prepare(load_config(folder.config_file, assignments, given))
    if "training.augment" in named:
        return setup
    training = setup.config.training.model_copy(update={"augment": min(setup.input_shape[1:]) >= _AUGMENTED})
    return replace(setup, config=setup.config.model_copy(update={"training": training}))
