"""Batches of a data set that lies in memory as bytes: picked, augmented and normalised on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from greennas.data import Dataset, Split

_EVALUATION_BATCH = {"cpu": 256, "cuda": 2048}
_UNMIRRORED = frozenset({"digits", "mnist"})  # a mirrored digit is another sign
_RESIDENT_SHARE = 0.5  # of the GPU's free memory that the images may fill


def evaluation_batch_size(device: torch.device) -> int:
    """Images in one evaluation batch."""
    return _EVALUATION_BATCH.get(device.type, 1024)


class Source:
    """A split on the device (where it fits), ready to give normalised float images (B, C, H, W), channels last."""

    def __init__(self, split: Split, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        # (N, H, W, C): rows picked from it are channels-last images without another copy
        images = split.images.permute(0, 2, 3, 1).contiguous()
        fits = device.type != "cuda" or images.nbytes < _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        home = device if fits else torch.device("cpu")
        self.images = images.to(home)
        self.labels = split.labels.to(home)
        self._shift = 255 * torch.tensor(dataset.mean, device=device).view(1, -1, 1, 1)
        self._scale = 1 / (255 * torch.tensor(dataset.std, device=device).view(1, -1, 1, 1))

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Bytes (B, C, H, W) and labels (B,) of the images at ``index``."""
        images = self.images[index].to(self.device, non_blocking=True)
        return images.permute(0, 3, 1, 2), self.labels[index].to(self.device, non_blocking=True)

    def normalised(self, images: Tensor) -> Tensor:
        """Bytes as floats of mean 0 and standard deviation 1 a channel."""
        return images.to(torch.float32).sub_(self._shift).mul_(self._scale)


def batches_of(split: Split, dataset: Dataset, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """All images of ``split`` in order, normalised, ``size`` at a time; the last batch may be smaller."""
    source = Source(split, dataset, device)
    for start in range(0, len(source), size):
        images, labels = source.batch(slice(start, start + size))
        yield source.normalised(images), labels


class TrainingBatches:
    """Endless mixed batches of the train split, the same for the same seed.

    A last incomplete batch is left out: batch norm cannot take one image, and steps of one size cost the same. Every
    epoch mixes anew, so no image is left out twice in a row other than by chance.
    """

    def __init__(self, dataset: Dataset, batch_size: int, augment: bool, seed: int, device: torch.device) -> None:
        self.source = Source(dataset.train, dataset, device)
        self.batch_size = min(batch_size, len(self.source))
        self._augment = augment
        self._mirror = dataset.name not in _UNMIRRORED
        self._order = torch.Generator().manual_seed(seed)
        self._noise = torch.Generator(device).manual_seed(seed)
        self._indices: Iterator[Tensor] = iter(())

    def next(self) -> tuple[Tensor, Tensor]:
        """Normalised images (B, C, H, W) and labels (B,)."""
        index = next(self._indices, None)
        if index is None:
            mixed = torch.randperm(len(self.source), generator=self._order)
            whole = len(mixed) // self.batch_size * self.batch_size
            self._indices = iter(torch.split(mixed[:whole].to(self.source.images.device), self.batch_size))
            index = next(self._indices)
        images, labels = self.source.batch(index)
        if self._augment:
            images = self._crop_and_flip(images)
        return self.source.normalised(images), labels

    def state(self) -> dict[str, Tensor]:
        """What the coming batches depend on, between two epochs."""
        return {"order": self._order.get_state(), "noise": self._noise.get_state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on as the batches would have that gave ``state``."""
        self._order.set_state(state["order"])
        self._noise.set_state(state["noise"])
        self._indices = iter(())

    def _crop_and_flip(self, images: Tensor) -> Tensor:
        """Shift each image by up to an eighth of its size (black beyond the edge) and mirror half of them."""
        count, _, height, width = images.shape
        margin = max(1, height // 8)

        def random(high: int) -> Tensor:
            return torch.randint(high, (count, 1), generator=self._noise, device=images.device)

        rows = random(2 * margin + 1) + torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device).expand(count, width)
        if self._mirror:
            columns = torch.where(random(2) == 1, columns.flip(1), columns)
        columns = random(2 * margin + 1) + columns
        padded = F.pad(images, (margin,) * 4)
        each = torch.arange(count, device=images.device)[:, None, None]
        # (B, H, W, C), since the channels stay whole between picked axes
        return padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
