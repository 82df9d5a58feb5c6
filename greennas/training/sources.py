"""A split's images as bytes and as normalised floats, from memory or from files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from greennas.data import AnySplit, Dataset, Split, StreamedSplit

Batch = tuple[Tensor, Tensor]
_RESIDENT_SHARE = 0.5  # of the GPU's free memory that the images may fill


class Normaliser:
    """What every source can do: put bytes on the device as floats of mean 0 and standard deviation 1 a channel."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        self._shift = 255 * torch.tensor(dataset.mean, device=device).view(1, -1, 1, 1)
        self._scale = 1 / (255 * torch.tensor(dataset.std, device=device).view(1, -1, 1, 1))

    def normalised(self, images: Tensor) -> Tensor:
        """Bytes (B, C, H, W) as floats."""
        return images.to(torch.float32).sub_(self._shift).mul_(self._scale)


class Source(Normaliser):
    """A split on the device (where it fits), ready to give normalised float images (B, C, H, W), channels last."""

    def __init__(self, split: Split, dataset: Dataset, device: torch.device) -> None:
        super().__init__(dataset, device)
        # (N, H, W, C): rows picked from it are channels-last images without another copy
        images = split.images.permute(0, 2, 3, 1).contiguous()
        fits = device.type != "cuda" or images.nbytes < _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        self.home = device if fits else torch.device("cpu")
        self.images = images.to(self.home)
        self.labels = split.labels.to(self.home)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> Batch:
        """Bytes (B, C, H, W) and labels (B,) of the images at ``index``."""
        images = self.images[index].to(self.device, non_blocking=True)
        return images.permute(0, 3, 1, 2), self.labels[index].to(self.device, non_blocking=True)

    def batches(self, size: int) -> Iterator[Batch]:
        """All of them in order, ``size`` at a time; the last batch may be smaller."""
        return (self.batch(slice(start, start + size)) for start in range(0, len(self), size))


class StreamedSource(Normaliser):
    """The same of a split whose images are decoded when they are needed."""

    def __init__(self, split: StreamedSplit, dataset: Dataset, device: torch.device) -> None:
        super().__init__(dataset, device)
        self.home = torch.device("cpu")
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def batch(self, index: slice) -> Batch:
        """Bytes (B, C, H, W) and labels (B,) of the images at ``index``."""
        return next(self.stream([torch.arange(len(self))[index]]))

    def batches(self, size: int) -> Iterator[Batch]:
        """All of them in order, ``size`` at a time; the last batch may be smaller."""
        return self.stream(torch.split(torch.arange(len(self)), size))

    def stream(self, indices: Iterable[Tensor], noise: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches of the images at each of ``indices``; random crops where ``noise`` is given."""
        indices = list(indices)
        for index, images in zip(indices, self._split.decoded(indices, noise), strict=True):
            labels = self._split.labels[index]
            if self.device.type == "cuda":  # pinned memory is copied while the GPU computes
                images, labels = images.pin_memory(), labels.pin_memory()
            images = images.to(self.device, non_blocking=True)
            yield images.permute(0, 3, 1, 2), labels.to(self.device, non_blocking=True)


def source_of(split: AnySplit, dataset: Dataset, device: torch.device) -> Source | StreamedSource:
    """The source for a split."""
    if isinstance(split, StreamedSplit):
        return StreamedSource(split, dataset, device)
    return Source(split, dataset, device)
