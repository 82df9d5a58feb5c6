"""What a benchmark runs: a network from a function, a model folder, a checkpoint or a run, with its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from greennas.data import Dataset, load_data
from greennas.errors import ConfigError
from greennas.export.source import data_of, open_source
from greennas.predict import load_model
from greennas.space import InputShape


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
    input_shape: InputShape
    dataset: Dataset | None


def find_target(
    text: str,
    *,
    pick: str | None = None,
    input_shape: InputShape = (3, 32, 32),
    data: Mapping[str, Any] | None = None,
) -> Target:
    """The network that ``text`` names.

    Args:
        text: ``module:function`` (or ``module:network``), or a path as ``greennas.export.source.open_source`` takes it:
            a model folder, a run folder, a checkpoint of a run.
        pick: which network of a run, as for ``greennas.pick.pick`` (default: the knee).
        input_shape: of one image, for a function without data.
        data: arguments of ``load_data``: of a function, of which nothing is known, the data set, whose own statistics
            its images are normalised by; of others only ``data_dir`` counts, since they know their data set.

    Raises:
        GreenNASError: there is no such network or data, or they do not fit.
    """
    path = Path(text).expanduser()
    if path.exists():
        source = open_source(path, pick)
        description, given = source.description, dict(data or {})
        if given.get("name") not in (None, description.dataset):
            raise ConfigError(f"{text} was trained on {description.dataset}; leave --data {given['name']} out.")
        name, identity = path.stem if path.is_file() else path.resolve().name, description.architecture.id
        if (path / "config.yaml").is_file():  # a run, of which the name says nothing about the network
            name = identity
        elif path.is_dir() and name == identity:  # trained to the end: it stands beside the run's own
            name = f"{path.resolve().parent.name}-{name}"
        return Target(
            name, source.network.float(), description.input_shape, data_of(description, given.get("data_dir"))
        )
    if ":" not in text:
        raise ConfigError(
            f"{text!r} is neither a model folder (of 'greennas export') nor a run folder nor module:function; "
            "give one of these."
        )
    if pick is not None:
        raise ConfigError(f"--pick chooses among the networks of a run folder and {text} is none; leave it out.")
    module = load_model(text).float().eval()
    own = load_data(**data) if data and data.get("name") else None
    return Target(text.rpartition(":")[2], module, own.input_shape if own else input_shape, own)
