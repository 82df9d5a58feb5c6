"""Where an export comes from: a run and a pick, a checkpoint, a training to the end, or another model folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from greennas import price_tag
from greennas.carbon import SearchCost
from greennas.config import SearchConfig
from greennas.data import Dataset, load_data
from greennas.data.load import DEFAULT_MEMORY_GB
from greennas.energy import Kind
from greennas.errors import DataError, RunError
from greennas.export.bill import read_bill, read_data_dir
from greennas.export.description import EnergyFigure, ModelDescription
from greennas.export.pretrained import DESCRIPTION, load_model
from greennas.pick import pick
from greennas.results import SearchResult, TrialRecord
from greennas.run import RunFolder

_ENERGIES = ("train_energy_j", "inference_energy_j_per_1k")
_METRICS = ("flops", "parameters", "latency_ms")


@dataclass(frozen=True, eq=False)
class Source:
    """A trained network with what is known about it.

    Attributes:
        network: in evaluation mode, on the CPU.
        description: what it is, expects and reached.
        bill: what it took to find and train it; None where that is not known.
        hardware: what that ran on, in words; empty likewise.
        spent_on: what the bill is of, in words.
        data_dir: folder of the data set's published files when it was trained; no part of what is exported.
    """

    network: nn.Module
    description: ModelDescription
    bill: SearchCost | None = None
    hardware: str = ""
    spent_on: str = "the whole search"
    data_dir: Path | None = None


def open_source(path: str | Path, choice: str | None = None) -> Source:
    """The network that ``path`` and ``choice`` name.

    Args:
        path: a run folder, a checkpoint of one, or a model folder.
        choice: of a run folder, as for ``greennas.pick.pick``; default: the knee.

    Raises:
        GreenNASError: there is nothing, no such network, or the search is not finished.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"There is no {path}; give a run folder, one of its checkpoints, or a model folder.")
    if (path / "config.yaml").is_file():
        run, result = open_finished(path)
        trial = pick(result, choice or "knee")
        checkpoint = run.checkpoints / f"{trial.architecture_id}.safetensors"
        if not checkpoint.is_file():
            on_front = any(trial.architecture_id == each.architecture_id for each in result.front)
            lost = f"are gone from {checkpoint.parent}" if on_front else "were not kept, as it is not on the front"
            raise RunError(
                f"The weights of {trial.architecture_id} {lost}; "
                f"train it with: greennas train {path} --pick {trial.architecture_id}."
            )
        return _of_trial(checkpoint, run, result, trial)
    if choice is not None:
        raise RunError(f"--pick chooses among the networks of a run folder and {path} is none; leave it out.")
    if path.is_file():
        return _of_checkpoint(path)
    if not (path / DESCRIPTION).is_file():
        raise RunError(f"{path} is neither a run folder nor a model folder; give the --out of a search.")
    bill, hardware = read_bill(path) or (None, "")
    return Source(*load_model(path), bill, hardware, "search and full training, in all", read_data_dir(path))


def open_finished(path: Path) -> tuple[RunFolder, SearchResult]:
    """The run of ``path`` and its result.

    Raises:
        RunError: it is no run, nothing was trained in it, or its search is not finished.
    """
    run = RunFolder.open(path)
    result = SearchResult(run.config, run.read_study(), run.path)
    if result.config.table is not None:
        raise RunError(f"{path} replayed a table: no network was trained there, so there is none to export or train.")
    if not result.completed or not all(trial.test for trial in result.front):
        raise RunError(f"The search in {path} is not finished; go on with: greennas search --resume {path}.")
    return run, result


def data_of(description: ModelDescription, data_dir: Path | None = None) -> Dataset:
    """The data set of a network with its test split, normalised as the network was trained.

    Args:
        description: of the network.
        data_dir: folder of the data set's published files; None: where such files are looked for.

    Raises:
        DataError: it cannot be loaded, or its images or classes are not those of the network.
    """
    settings = dict(description.data_settings)
    _, height, width = description.input_shape
    if "resolution" not in settings and height == width:
        settings["resolution"] = height
    if data_dir is not None:
        settings["data_dir"] = data_dir
    dataset = load_data(description.dataset, **settings)
    if dataset.input_shape != description.input_shape or dataset.class_names != description.class_names:
        raise DataError(
            f"The data set {description.dataset} has images of {dataset.input_shape} in {dataset.num_classes} classes, "
            f"and the network was trained on {description.input_shape} in {description.num_classes}; check --data-dir."
        )
    return replace(dataset, mean=description.mean, std=description.std)


def data_settings(config: SearchConfig) -> dict[str, Any]:
    """What ``load_data`` was called with beside the name and the folder, where set."""
    data = config.data
    settings = {
        "train_images": data.train_images,
        "validation_images": data.validation_images,
        "resolution": data.resolution,
        "memory_gb": data.memory_gb if data.memory_gb != DEFAULT_MEMORY_GB else None,
    }
    return {name: value for name, value in settings.items() if value is not None}


def _of_checkpoint(path: Path) -> Source:
    """A checkpoint's network; with what its run knows about it, where it lies in one."""
    folder = path.absolute().parent.parent
    if (folder / "config.yaml").is_file() and path.absolute().parent.name == "checkpoints":
        run = RunFolder.open(folder)
        result = SearchResult(run.config, run.read_study(), run.path)
        for trial in result.completed:
            if trial.architecture_id == path.stem:
                return _of_trial(path, run, result, trial)
    return Source(*load_model(path))


def _of_trial(checkpoint: Path, run: RunFolder, result: SearchResult, trial: TrialRecord) -> Source:
    network, description = load_model(checkpoint)
    accuracy = dict(description.accuracy)
    if "accuracy" in trial.test:
        accuracy["test"] = trial.test["accuracy"]
    description = replace(
        description,
        data_settings=data_settings(result.config),
        accuracy=accuracy,
        energy=energies_of(trial),
        metrics=metrics_of(trial),
        notes=tuple(result.data.get("notes", ())),
    )
    bill = result.cost
    on_gpu = any(entry.reading.component == "gpu" for entry in bill.entries)
    hardware = price_tag.hardware(run.devices(), on_gpu)
    return Source(network, description, bill, hardware, data_dir=result.config.data.dir)


def metrics_of(trial: TrialRecord) -> dict[str, float]:
    """What is known of a trial's network beside accuracy and energy."""
    return {name: value for name in _METRICS if (value := trial.metrics.get(name)) is not None}


def energies_of(trial: TrialRecord) -> dict[str, EnergyFigure]:
    """What was metered, training energy as measured again where it was."""
    found = {
        name: EnergyFigure(trial.metrics.get(name), Kind(trial.kinds[name]))
        for name in _ENERGIES
        if name in trial.kinds
    }
    again = trial.confirmed
    if again is not None and again.train_energy_j is not None:
        found["train_energy_j"] = EnergyFigure(again.train_energy_j, again.kind, again.low_j, again.high_j)
    return found
