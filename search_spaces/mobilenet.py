"""MobileNet: five stages of inverted residual blocks with searched kernels, expansions, depths and widths.

M. Sandler et al.: MobileNetV2 (CVPR 2018); stages, squeeze-and-excitation and choices as in A. Howard et al.:
MobileNetV3 (ICCV 2019) and H. Cai et al.: Once-for-All (ICLR 2020). Skeleton: stem of ``width`` channels, one
separable block, stages of 1 to ``depth`` blocks. The defaults suit 224x224 images, which the stem halves to
``resolution``. Parameters: what was suggested, by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from greennas.errors import InvalidArchitectureError
from greennas.profile import CostProfile
from greennas.space import Trial
from search_spaces._pieces import Chain, PoolLinear, Shape, conv_stem, rounded

KERNELS = (3, 5)
EXPANSIONS = (3, 4, 6)
MULTIPLIERS = (0.5, 0.75, 1.0, 1.25)
STAGES = ((1.5, 2), (2.5, 2), (5.0, 2), (7.0, 1), (10.0, 2))
"""Channels (as multiples of ``width``) and stride of every stage."""


def sample(trial: Trial, *, depth: int = 3) -> dict[str, Any]:
    """Suggest the width multiplier and, for every stage, its blocks; blocks that do not exist are not asked about."""
    params: dict[str, Any] = {"multiplier": trial.suggest_categorical("multiplier", list(MULTIPLIERS))}
    for stage in range(1, len(STAGES) + 1):
        blocks = params[f"stage {stage} blocks"] = trial.suggest_int(f"stage {stage} blocks", 1, depth)
        name = f"stage {stage} squeeze-excite"
        params[name] = trial.suggest_categorical(name, [False, True])
        for block in range(1, blocks + 1):
            for choice, values in (("kernel", KERNELS), ("expansion", EXPANSIONS)):
                name = f"stage {stage} block {block} {choice}"
                params[name] = trial.suggest_categorical(name, list(values))
    return params


def build(
    params: Mapping[str, Any], input_shape: Shape, num_classes: int, *, width: int = 16, resolution: int = 112
) -> nn.Module:
    """The network of ``params``; larger images than ``resolution`` are strided down in the stem.

    Raises:
        InvalidArchitectureError: a parameter is missing or unknown.
    """
    return _chain(params, width, resolution).build(input_shape, num_classes)


def canonical(params: Mapping[str, Any], *, width: int = 16) -> str:
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
    width: int = 16,
    resolution: int = 112,
) -> CostProfile:
    """Closed form, equal to the walk of the built network: a sum of cached pieces."""
    return _chain(params, width, resolution).profile(input_shape, num_classes, batch_size)


def size(*, depth: int = 3) -> int:
    """Number of parameter sets."""
    block = len(KERNELS) * len(EXPANSIONS)
    stage = 2 * sum(block**blocks for blocks in range(1, depth + 1))
    return int(len(MULTIPLIERS) * stage ** len(STAGES))


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate that is computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = rounded(channels / 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, reduced, 1), nn.ReLU(inplace=True), nn.Conv2d(reduced, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, channels, height, width)`` to the same shape."""
        gate: Tensor = self.gate(self.pool(x))
        return x * gate


class InvertedResidual(nn.Module):
    """Expansion by a convolution 1x1, depthwise convolution, projection; residual where the shapes agree."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, expansion: int, squeeze_excite: bool
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(in_channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)]
        layers += [
            nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
        ]
        if squeeze_excite:
            layers.append(SqueezeExcite(hidden))
        layers += [nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, in_channels, height, width)`` to ``(batch, channels, height / stride, width / stride)``."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


_Block = tuple[int, int, int, int, int, bool]


def _chain(params: Mapping[str, Any], width: int, resolution: int) -> Chain:
    return Chain(_stem, width, InvertedResidual, _blocks(params, width), _head, resolution)


def _blocks(params: Mapping[str, Any], width: int) -> list[_Block]:
    """Arguments of every ``InvertedResidual``, the fixed first one included."""
    try:
        multiplier = params["multiplier"]
        valid = multiplier in MULTIPLIERS
        channels = rounded(width * multiplier)
        blocks: list[_Block] = [(width, channels, 3, 1, 1, False)]
        names = 1
        for stage, (times, stride) in enumerate(STAGES, start=1):
            count, gated = params[f"stage {stage} blocks"], params[f"stage {stage} squeeze-excite"]
            names += 2 + 2 * count
            valid = valid and count >= 1 and isinstance(gated, bool)
            target = rounded(width * times * multiplier)
            for block in range(1, count + 1):
                kernel, expansion = (params[f"stage {stage} block {block} {name}"] for name in ("kernel", "expansion"))
                valid = valid and kernel in KERNELS and expansion in EXPANSIONS
                blocks.append((channels, target, kernel, stride if block == 1 else 1, expansion, gated))
                channels = target
    except (KeyError, TypeError) as error:
        raise InvalidArchitectureError(
            f"{dict(params)} is not a network of the mobilenet space ({error!r}); give what its sample suggests."
        ) from error
    if not valid or names != len(params):
        raise InvalidArchitectureError(
            f"{dict(params)} has a value or name that is not of the mobilenet space; give what its sample suggests."
        )
    return blocks


def _stem(in_channels: int, channels: int, halvings: int) -> nn.Sequential:
    return nn.Sequential(conv_stem(in_channels, channels, halvings), nn.ReLU6(inplace=True))


def _head(channels: int, num_classes: int) -> nn.Sequential:
    last = 6 * channels
    return nn.Sequential(
        nn.Conv2d(channels, last, 1, bias=False),
        nn.BatchNorm2d(last),
        nn.ReLU6(inplace=True),
        PoolLinear(last, num_classes),
    )
