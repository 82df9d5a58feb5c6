"""ResNet: four stages with searched blocks (basic or bottleneck), depths, widths and groups.

K. He et al.: ResNet (CVPR 2016); S. Xie et al.: ResNeXt (CVPR 2017, groups); the stem's convolutions 3x3
follow T. He et al.: Bag of Tricks (CVPR 2019). Skeleton: stages of 1 to ``depth`` blocks with ``width`` x 1, 2,
4, 8 channels, rounded to multiples of 8 (bottlenecks put out four times as many); the defaults suit 224x224
images, which the stem halves to ``resolution``. Parameters: what was suggested, by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from greennas.errors import InvalidArchitectureError
from greennas.profile import CostProfile
from greennas.space import Trial
from search_spaces._pieces import (
    Chain,
    PoolLinear,
    Shape,
    conv_bn_relu,
    conv_stem,
    rounded,
)

BLOCKS = ("basic", "bottleneck")
MULTIPLIERS = (0.5, 0.75, 1.0, 1.25)
GROUPS = (1, 2, 4, 8)
STAGES = 4


def sample(trial: Trial, *, depth: int = 6) -> dict[str, Any]:
    """Suggest the kind of block, number, width multiplier and groups of every stage."""
    params: dict[str, Any] = {}
    for stage in range(1, STAGES + 1):
        params[f"stage {stage} blocks"] = trial.suggest_int(f"stage {stage} blocks", 1, depth)
        for choice, values in (("block", BLOCKS), ("multiplier", MULTIPLIERS), ("groups", GROUPS)):
            name = f"stage {stage} {choice}"
            params[name] = trial.suggest_categorical(name, list(values))
    return params


def build(
    params: Mapping[str, Any], input_shape: Shape, num_classes: int, *, width: int = 64, resolution: int = 56
) -> nn.Module:
    """The network of ``params``; larger images than ``resolution`` are strided down in the stem.

    Raises:
        InvalidArchitectureError: a parameter is missing or unknown.
    """
    return _chain(params, width, resolution).build(input_shape, num_classes)


def canonical(params: Mapping[str, Any], *, width: int = 64) -> str:
    """Equal where rounding makes two width multipliers the same network.

    Raises:
        InvalidArchitectureError: a parameter is missing or unknown.
    """
    return json.dumps(_blocks(params, width))


def profile(
    params: Mapping[str, Any],
    input_shape: Shape,
    num_classes: int,
    batch_size: int,
    *,
    width: int = 64,
    resolution: int = 56,
) -> CostProfile:
    """Closed form, equal to the walk of the built network: a sum of cached pieces."""
    return _chain(params, width, resolution).profile(input_shape, num_classes, batch_size)


def size(*, depth: int = 6) -> int:
    """Number of parameter sets."""
    return int((depth * len(BLOCKS) * len(MULTIPLIERS) * len(GROUPS)) ** STAGES)


class Residual(nn.Module):
    """Residual block: two convolutions 3x3, or 1x1, 3x3, 1x1 where ``bottleneck``; projection where shapes differ."""

    def __init__(
        self, in_channels: int, channels: int, hidden: int, stride: int, groups: int, bottleneck: bool
    ) -> None:
        super().__init__()
        if bottleneck:
            self.layers = nn.Sequential(
                conv_bn_relu(in_channels, hidden, 1),
                conv_bn_relu(hidden, hidden, 3, stride, groups),
                nn.Conv2d(hidden, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            )
        else:
            self.layers = nn.Sequential(
                conv_bn_relu(in_channels, hidden, 3, stride, groups),
                nn.Conv2d(hidden, channels, 3, 1, 1, groups=groups, bias=False),
                nn.BatchNorm2d(channels),
            )
        self.shortcut = nn.Sequential()
        if stride > 1 or in_channels != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.stride = stride
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, in_channels, height, width)`` to ``(batch, channels, height / stride, width / stride)``."""
        # What a 1x1 convolution of this stride reads; such ones of few channels crash on CPUs (oneDNN issue 6035).
        read = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        y: Tensor = self.activation(self.layers(x) + self.shortcut(read))
        return y


_Block = tuple[int, int, int, int, int, bool]


def _chain(params: Mapping[str, Any], width: int, resolution: int) -> Chain:
    return Chain(_stem, rounded(width), Residual, _blocks(params, width), PoolLinear, resolution)


def _blocks(params: Mapping[str, Any], width: int) -> list[_Block]:
    """Arguments of every ``Residual``."""
    blocks: list[_Block] = []
    channels, valid = rounded(width), len(params) == 4 * STAGES
    try:
        for stage in range(1, STAGES + 1):
            count, kind, multiplier, groups = (
                params[f"stage {stage} {name}"] for name in ("blocks", "block", "multiplier", "groups")
            )
            valid = valid and count >= 1 and kind in BLOCKS and multiplier in MULTIPLIERS and groups in GROUPS
            hidden = rounded(width * 2 ** (stage - 1) * multiplier)
            target = 4 * hidden if kind == "bottleneck" else hidden
            for block in range(count):
                stride = 2 if stage > 1 and block == 0 else 1
                blocks.append((channels, target, hidden, stride, groups, kind == "bottleneck"))
                channels = target
    except (KeyError, TypeError) as error:
        raise InvalidArchitectureError(
            f"{dict(params)} is not a network of the resnet space ({error!r}); give what its sample suggests."
        ) from error
    if not valid:
        raise InvalidArchitectureError(
            f"{dict(params)} has a value or name that is not of the resnet space; give what its sample suggests."
        )
    return blocks


def _stem(in_channels: int, channels: int, halvings: int) -> nn.Sequential:
    return nn.Sequential(conv_stem(in_channels, channels, halvings), nn.ReLU(inplace=True))
