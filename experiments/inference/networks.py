"""The residual networks that the experiment classifies images with."""

from __future__ import annotations

import torch
from optuna.trial import FixedTrial
from torch import nn

from greennas import load_space
from greennas.space import InputShape


def residual_network(input_shape: InputShape, classes: int, blocks: int, width: int, seed: int = 0) -> nn.Module:
    """A residual network of two stages with random weights."""
    space = load_space("resnet", width=width, depth=2)
    choices = {"blocks": blocks, "block": "basic", "multiplier": 1.0, "groups": 1}
    params = space.sample(
        FixedTrial({f"stage {i} {name}": value for i in range(1, 5) for name, value in choices.items()})
    )
    torch.manual_seed(seed)
    return space.build(params, input_shape, classes)
