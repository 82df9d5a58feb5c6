"""What the built-in spaces share: stems for any image size, and cost profiles of cached pieces."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from greennas.profile import CostProfile, profile

Shape = tuple[int, int, int]
"""Channels, height, width."""


@functools.lru_cache(maxsize=65536)
def piece_profile(
    factory: Callable[..., nn.Module], args: tuple[Hashable, ...], shape: Shape, batch_size: int
) -> CostProfile:
    """Profile of ``factory(*args)`` on input of ``shape``; each piece is walked once in a process."""
    with torch.device("meta"):
        module = factory(*args)
    return profile(module, shape, batch_size)


@dataclass(frozen=True)
class Chain:
    """A network whose parts follow one another.

    Attributes:
        stem: makes the first part of in channels, out channels and how often it halves the image.
        width: channels that the stem gives.
        block: makes a part of in channels, out channels, hidden channels, stride and what else it takes.
        blocks: these arguments of each.
        head: makes the last part of channels and classes.
        resolution: larger images are strided down in the stem.
    """

    stem: Callable[..., nn.Module]
    width: int
    block: Callable[..., nn.Module]
    blocks: Sequence[tuple[Any, ...]]
    head: Callable[..., nn.Module]
    resolution: int

    def build(self, input_shape: Shape, num_classes: int) -> nn.Sequential:
        """The network for images of ``input_shape``."""
        halvings = stem_halvings(input_shape, self.resolution)
        layers = [self.block(*arguments) for arguments in self.blocks]
        channels = self.blocks[-1][1] if self.blocks else self.width
        return nn.Sequential(self.stem(input_shape[0], self.width, halvings), *layers, self.head(channels, num_classes))

    def profile(self, input_shape: Shape, num_classes: int, batch_size: int) -> CostProfile:
        """Profile of what ``build`` gives, as a sum of cached pieces."""
        halvings = stem_halvings(input_shape, self.resolution)
        pieces = [piece_profile(self.stem, (input_shape[0], self.width, halvings), input_shape, batch_size)]
        shape = halved(input_shape, halvings, self.width)
        for arguments in self.blocks:
            pieces.append(piece_profile(self.block, arguments, shape, batch_size))
            shape = halved(shape, arguments[3] - 1, arguments[1])
        pieces.append(piece_profile(self.head, (shape[0], num_classes), shape, batch_size))
        return CostProfile.combine(pieces)


def halved(shape: Shape, times: int = 1, channels: int | None = None) -> Shape:
    """``shape`` after ``times`` padded layers of stride 2 (sides rounded up, so never below 1)."""
    height, width = (-(-side // 2**times) for side in shape[1:])
    return (shape[0] if channels is None else channels, height, width)


def stem_halvings(shape: Shape, resolution: int) -> int:
    """How often the stem halves an image of ``shape`` so that no side exceeds ``resolution``."""
    times = 0
    while max(halved(shape, times)[1:]) > max(1, resolution):
        times += 1
    return times


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Padded convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def conv_stem(in_channels: int, out_channels: int, halvings: int) -> nn.Sequential:
    """Convolutions 3x3 that halve the image ``halvings`` times, one of stride 1 where that is 0.

    Channels double as sides halve, so that large images do not spend the network's work in its stem. The
    last one ends with batch norm; a space adds its activation.
    """
    steps = max(1, halvings)
    widths = [min(out_channels, max(8, out_channels >> (steps - 1 - step))) for step in range(steps)]
    layers = [
        conv_bn_relu(before, after, 3, 2 if halvings else 1)
        for before, after in zip([in_channels, *widths], widths, strict=False)
    ]
    return nn.Sequential(*layers[:-1], layers[-1][:-1])  # without its ReLU


def rounded(channels: float) -> int:
    """The multiple of 8 (at least 8) nearest to ``channels``, as in MobileNetV2."""
    return max(8, int(channels / 8 + 0.5) * 8)


def summed(tensors: list[Tensor]) -> Tensor:
    """Sum without the addition to 0 that the built-in ``sum`` begins with."""
    return reduce(add, tensors)


class Add(nn.Module):
    """``x + x``: stands for one addition of two feature maps in a closed-form profile."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, ...)`` to the same shape."""
        return x + x


class Concatenation(nn.Module):
    """Concatenates slices of its input: stands for a cell's output in a closed-form profile."""

    def __init__(self, *channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, channels, ...)`` to the sum of all channels."""
        return torch.cat([x[:, :count] for count in self.channels], 1)


class PoolLinear(nn.Module):
    """Global average pooling and a linear classifier."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, channels, height, width)`` to ``(batch, num_classes)``."""
        logits: Tensor = self.linear(self.pool(x).flatten(1))
        return logits
