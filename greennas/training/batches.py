"""Batches of a data set: picked, augmented and normalised on the device, or decoded from files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from greennas.data import AnySplit, Dataset
from greennas.training.sources import Batch, Source, StreamedSource, source_of

_EVALUATION_BATCH = {"cpu": 256, "cuda": 2048}
_EVALUATION_PIXELS = 64 * 64  # images up to this size come in batches of that many, larger ones in smaller batches
_LEAST_EVALUATION_BATCH = 32
_UNMIRRORED = frozenset({"digits", "mnist"})  # a mirrored digit is another sign


def evaluation_batch_size(device: torch.device, image_shape: tuple[int, int, int]) -> int:
    """Images in one evaluation batch; fewer where they are large (channels, height, width)."""
    most = _EVALUATION_BATCH.get(device.type, 1024)
    _, height, width = image_shape
    return max(_LEAST_EVALUATION_BATCH, min(most, most * _EVALUATION_PIXELS // (height * width)))


def batches_of(split: AnySplit, dataset: Dataset, size: int, device: torch.device) -> Iterator[Batch]:
    """All images of ``split`` in order, normalised, ``size`` at a time; the last batch may be smaller."""
    source = source_of(split, dataset, device)
    for images, labels in source.batches(size):
        yield source.normalised(images), labels


class TrainingBatches:
    """Endless mixed batches of the train split, the same for the same seed.

    A last incomplete batch is left out: batch norm cannot take one image, and steps of one size cost the same. Every
    epoch mixes anew, so no image is left out twice in a row other than by chance.
    """

    def __init__(self, dataset: Dataset, batch_size: int, augment: bool, seed: int, device: torch.device) -> None:
        self.source = source_of(dataset.train, dataset, device)
        self.batch_size = min(batch_size, len(self.source))
        self._augment = augment
        self._mirror = dataset.name not in _UNMIRRORED
        self._order = torch.Generator().manual_seed(seed)
        streamed = isinstance(self.source, StreamedSource)
        self._noise = torch.Generator("cpu" if streamed else device).manual_seed(seed)
        self._epoch: Iterator[Batch] = iter(())

    def next(self) -> tuple[Tensor, Tensor]:
        """Normalised images (B, C, H, W) and labels (B,)."""
        batch = next(self._epoch, None)
        if batch is None:
            mixed = torch.randperm(len(self.source), generator=self._order)
            whole = len(mixed) // self.batch_size * self.batch_size
            indices = torch.split(mixed[:whole].to(self.source.home), self.batch_size)
            noise = self._noise if self._augment else None
            if isinstance(self.source, StreamedSource):
                self._epoch = self.source.stream(indices, noise)
            else:
                self._epoch = _picked(self.source, indices, noise, self._mirror)
            batch = next(self._epoch)
        images, labels = batch
        return self.source.normalised(images), labels

    def state(self) -> dict[str, Tensor]:
        """What the coming batches depend on, between two epochs."""
        return {"order": self._order.get_state(), "noise": self._noise.get_state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on as the batches would have that gave ``state``."""
        self._order.set_state(state["order"])
        self._noise.set_state(state["noise"])
        self._epoch = iter(())


def _picked(source: Source, indices: Iterable[Tensor], noise: torch.Generator | None, mirror: bool) -> Iterator[Batch]:
    """Batches from memory; shifted, and mirrored where they may be, if ``noise`` is given."""
    for index in indices:
        images, labels = source.batch(index)
        yield (images if noise is None else _crop_and_flip(images, noise, mirror)), labels


def _crop_and_flip(images: Tensor, noise: torch.Generator, mirror: bool) -> Tensor:
    """Shift each image by up to an eighth of its size (black beyond the edge) and mirror half of them."""
    count, _, height, width = images.shape
    margin = max(1, height // 8)

    def random(high: int) -> Tensor:
        return torch.randint(high, (count, 1), generator=noise, device=images.device)

    rows = random(2 * margin + 1) + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    if mirror:
        columns = torch.where(random(2) == 1, columns.flip(1), columns)
    columns = random(2 * margin + 1) + columns
    padded = F.pad(images, (margin,) * 4)
    each = torch.arange(count, device=images.device)[:, None, None]
    # (B, H, W, C), since the channels stay whole between picked axes
    return padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
