"""Trained networks to and from model folders: ``model.safetensors`` with ``architecture.json``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from greennas.checkpoint import load_weights, read_checkpoint
from greennas.errors import DataError, SpaceError, bare_reason
from greennas.export.description import ModelDescription
from greennas.space import load_space
from greennas.tensorfile import read_tensors, write_tensors

WEIGHTS = "model.safetensors"
DESCRIPTION = "architecture.json"


def save_pretrained(module: nn.Module, directory: str | Path, description: ModelDescription) -> None:
    """Write ``model.safetensors`` and ``architecture.json``, from which ``from_pretrained`` makes the network again.

    Args:
        module: the trained network, as the space of ``description.architecture`` builds it.
        directory: made if need be; other files in it stay.
        description: what the network is, expects and reached.

    Raises:
        DataError: the folder cannot be written.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_tensors(directory / WEIGHTS, module.state_dict(), {"format": "pt"})
        description.write(directory / DESCRIPTION)
        (directory / WEIGHTS).chmod((directory / DESCRIPTION).stat().st_mode)  # safetensors writes for the owner alone
    except OSError as error:
        raise DataError(
            f"The model folder {directory} cannot be written ({bare_reason(error)}); choose another."
        ) from error


def from_pretrained(directory: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """The network of a model folder (or of a run's checkpoint file), in evaluation mode.

    It maps images (B, C, H, W), normalised as ``read_description(directory)`` says, to (B, num_classes) logits.

    Args:
        directory: what ``greennas export`` or ``save_pretrained`` wrote, or a file of a run's ``checkpoints/``.
        device: where to put it.

    Raises:
        DataError: it is neither, or the weights are of another network.
        SpaceError: the network's search space is not installed here; ``model.py`` of the folder does without it.
    """
    return load_model(directory, device)[0]


def load_model(path: str | Path, device: torch.device | str = "cpu") -> tuple[nn.Module, ModelDescription]:
    """The network of ``from_pretrained``, and what it is, expects and reached."""
    path = Path(path)
    if path.is_file():
        tensors, about = read_checkpoint(path)
        description = ModelDescription.of_checkpoint(about)
    else:
        description = read_description(path)
        tensors, _ = read_tensors(path / WEIGHTS)
    module = build(description)
    load_weights(module, tensors, path)
    return module.to(device).eval(), description


def read_description(directory: str | Path) -> ModelDescription:
    """What the network of a model folder is, expects and reached.

    Raises:
        DataError: it is not a model folder.
    """
    return ModelDescription.read(Path(directory) / DESCRIPTION)


def build(description: ModelDescription) -> nn.Module:
    """The network with random weights; PyTorch's generator is left as it was.

    Raises:
        SpaceError: its search space is not installed here, or cannot build it any more.
    """
    architecture = description.architecture
    try:
        space = load_space(architecture.space, **architecture.options)
    except SpaceError as error:
        raise SpaceError(
            f"The network's search space cannot be loaded: {error} The folder's model.py, model.pt2 and model.onnx, "
            "where it has them, do without it."
        ) from error
    with torch.random.fork_rng([]):
        return space.build(architecture.params, description.input_shape, description.num_classes)
