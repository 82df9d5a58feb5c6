"""What a benchmark runs: a network from a function, a model folder, a checkpoint or a run, with its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from greennas.data import Dataset, load_data
from greennas.errors import ConfigError
from greennas.export import load_model
from greennas.export.pretrained import DESCRIPTION
from greennas.predict import load_model as call_model
from greennas.results import SearchResult
from greennas.run import RunFolder


@dataclass(frozen=True, eq=False)
class Target:
    """A network to benchmark.

    Attributes:
        name: how it is called in the tables.
        module: float32, on the CPU, in evaluation mode.
        input_shape: of one image: channels, height, width.
        dataset: images that are normalised as the network expects; None where no data is known.
    """

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    dataset: Dataset | None


def find_target(
    text: str, *, pick: str = "knee", input_shape: tuple[int, ...] | None = None, data: Mapping[str, Any] | None = None
) -> Target:
    """The network that ``text`` names.

    Args:
        text: ``module:function`` (or ``module:network``), a folder that ``greennas export`` wrote, a run folder, or a
            checkpoint of a run.
        pick: which network of a run's front: knee, most-accurate, least-energy, or an architecture's id.
        input_shape: of one image, for a function without data (default: 3, 32, 32).
        data: arguments of ``load_data`` (name and so on) in place of what the network says; needed for a function, of
            which nothing is known. Its images are normalised by its own statistics then.

    Raises:
        GreenNASError: there is no such network or data, or they do not fit.
    """
    path = Path(text).expanduser()
    if (path / "config.yaml").is_file():
        return _of_run(path, pick, data)
    if (path / DESCRIPTION).is_file() or path.suffix == ".safetensors":
        return _of_folder(path, path.stem if path.is_file() else path.resolve().name, data)
    if ":" not in text:
        raise ConfigError(
            f"{text!r} is neither a model folder (of 'greennas export') nor a run folder nor module:function; "
            "give one of these."
        )
    module = call_model(text).float().eval()
    dataset = load_data(**data) if data else None
    shape = dataset.input_shape if dataset is not None else input_shape or (3, 32, 32)
    return Target(text.rpartition(":")[2], module, tuple(shape), dataset)


def _of_folder(path: Path, name: str, data: Mapping[str, Any] | None) -> Target:
    module, description = load_model(path)
    dataset = load_data(**(data or {"name": description.dataset, **description.data_settings}))
    if dataset.input_shape != tuple(description.input_shape):
        raise ConfigError(
            f"{path} takes images of {description.input_shape} and {dataset.name} has {dataset.input_shape}; "
            "name its data set with --data and --resolution."
        )
    dataset = replace(dataset, mean=description.mean, std=description.std)
    return Target(name, module.float(), tuple(description.input_shape), dataset)


def _of_run(path: Path, pick: str, data: Mapping[str, Any] | None) -> Target:
    folder = RunFolder.open(path)
    result = SearchResult(folder.config, folder.read_study(), folder.path)
    chosen = _picked(result, pick)
    own = folder.config.data
    settings = {
        "name": own.name,
        "data_dir": own.dir,
        "train_images": own.train_images,
        "validation_images": own.validation_images,
        "resolution": own.resolution,
    }
    return _of_folder(folder.checkpoints / f"{chosen}.safetensors", chosen, data or settings)


def _picked(result: SearchResult, pick: str) -> str:
    """Architecture id of the network of the front that ``pick`` names."""
    if not result.front:
        raise ConfigError(f"The run {result.path} has no front yet; wait until a training has been completed.")
    by_name = {"most-accurate": max(result.front, key=lambda trial: trial.metrics.get("accuracy") or 0.0)}
    with_energy = [trial for trial in result.front if trial.metrics.get("train_energy_j") is not None]
    if with_energy:
        by_name["least-energy"] = min(with_energy, key=lambda trial: trial.metrics["train_energy_j"] or 0.0)
    if result.knee is not None:
        by_name["knee"] = result.knee
    if pick in by_name:
        return by_name[pick].architecture_id
    ids = [trial.architecture_id for trial in result.front]
    if pick not in ids:
        raise ConfigError(f"There is no {pick!r} on the front; pick {', '.join([*by_name, *ids])}.")
    return pick
