"""The weights of a trained network, in one file that says which network they are of and what they expect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from greennas.architecture import Architecture
from greennas.data import Dataset
from greennas.errors import DataError
from greennas.tensorfile import read_tensors, write_tensors
from greennas.trainer import Precision, TrainingPlan

FORMAT = "greennas-checkpoint-1"


def write_checkpoint(
    path: str | Path,
    state_dict: Mapping[str, Tensor],
    architecture: Architecture,
    dataset: Dataset,
    plan: TrainingPlan,
    precision: Precision,
    validation_accuracy: float,
    **more: Any,
) -> None:
    """Write the weights with what is needed to build, load and feed their network.

    Args:
        path: a safetensors file; its folder is made if need be.
        state_dict: of the network.
        architecture: the network.
        dataset: what it was trained on.
        plan: how it was trained.
        precision: that it was evaluated in; the weights keep their own.
        validation_accuracy: 0..1.
        more: further facts, JSON-ready.

    Raises:
        OSError: the folder cannot be written.
    """
    about = {
        "format": FORMAT,
        "architecture": architecture.to_json(),
        "input_shape": dataset.input_shape,
        "class_names": dataset.class_names,
        "mean": dataset.mean,
        "std": dataset.std,
        "dataset": dataset.name,
        "plan": plan.to_json(),
        "precision": precision,
        "validation_accuracy": validation_accuracy,
        **more,
    }
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, state_dict, metadata)


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the facts of a checkpoint, by the names that ``write_checkpoint`` gives them.

    Raises:
        DataError: there is no such file, or it is not a checkpoint.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path} is not a checkpoint of GreenNAS; give a file of a run's checkpoints/.")
    plain = ("format", "dataset", "precision")
    try:
        return tensors, {key: value if key in plain else json.loads(value) for key, value in metadata.items()}
    except ValueError as error:
        raise DataError(f"The facts in the checkpoint {path} cannot be read ({error}); make it again.") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Load ``tensors`` into ``module``, all of them and nothing else.

    Args:
        module: the network.
        tensors: its state dict.
        source: where they are from, for the error.

    Raises:
        DataError: they are of another network.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        words = " ".join(str(error).split())
        raise DataError(
            f"{source} is of another network ({words}); give the weights that were saved for this one."
        ) from error
