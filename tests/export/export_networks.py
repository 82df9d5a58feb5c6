"""Small networks with random weights, as files of a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from greennas.checkpoint import write_checkpoint
from greennas.data import Dataset
from greennas.sampler.candidates import ReplayTrial
from greennas.space import load_space
from greennas.trainer import TrainingPlan

SMALL = {
    "nasbench101": {"width": 8, "depth": 1},
    "nasbench201": {"width": 4, "depth": 1},
    "mobilenet": {"width": 8, "depth": 1},
    "resnet": {"width": 8, "depth": 1},
}
"""Every shipped space, with options that make its networks small."""


def shaken(network: nn.Module) -> nn.Module:
    """The network with statistics of batch norm that a training could have left, so that they matter."""
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return network.eval()


def checkpoint_of(space_name: str, path: Path, dataset: Dataset, seed: int = 1, **options: int) -> nn.Module:
    """A network of the space with random weights; writes it to ``path`` as a search does."""
    space = load_space(space_name, **options)
    params = space.sample(ReplayTrial(np.random.default_rng(seed)))
    torch.manual_seed(seed)
    network = shaken(space.build(params, dataset.input_shape, dataset.num_classes))
    write_checkpoint(path, network.state_dict(), space.architecture(params), dataset, TrainingPlan(), "float32", 0.125)
    return network
