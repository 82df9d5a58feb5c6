"""One part of a data set in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their classes.

    Attributes:
        images: (N, C, H, W) uint8, 0..255, in a fixed mixed order: every prefix is a fair sample.
        labels: (N,) int64, 0..num_classes-1.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def first(self, count: int) -> Split:
        """The first ``count`` images, a fair sample."""
        return Split(self.images[:count], self.labels[:count])

    def resized(self, resolution: int) -> Split:
        """The same images with sides of ``resolution`` pixels, (N, C, resolution, resolution), antialiased."""
        if self.images.shape[2:] == (resolution, resolution):
            return self
        return Split(torch.cat([_resized(part, resolution) for part in self.chunks()]), self.labels)

    def chunks(self) -> Iterator[Tensor]:
        """All images in order, some at a time: (B, C, H, W) uint8."""
        yield from torch.split(self.images, _CHUNK)

    def in_memory(self) -> Split:
        """Itself."""
        return self


def _resized(images: Tensor, resolution: int) -> Tensor:
    size = (resolution, resolution)
    resized = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized.round_().clamp_(0, 255).to(torch.uint8)
