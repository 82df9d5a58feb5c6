"""Images that stay in their files: decoded by threads shortly before a batch needs them, and forgotten after it.

Threads rather than the processes of a ``torch.utils.data.DataLoader``: Pillow lets other threads run while it decodes,
and so the energy, the memory limit and the end of a training are those of one process. Nothing depends on how many
threads there are: random numbers are drawn batch by batch before the work is handed out.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from greennas.data.pictures import RANDOM_NUMBERS, read_cropped
from greennas.data.raw import FileNames
from greennas.data.split import Split

_AHEAD = 2
"""Batches that are decoded while one is in use."""
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """Files of images and their classes; what ``Split`` is in memory.

    Attributes:
        root: folder that the names are relative to.
        names: (N,) of the files, in a fixed mixed order: every prefix is a fair sample.
        labels: (N,) int64, 0..num_classes-1.
        resolution: height and width that images are cropped and resized to.
        threads: that decode, beside the one that asks; with 0 it decodes itself.
    """

    root: Path
    names: FileNames
    labels: Tensor
    resolution: int
    threads: int = 1

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        return 3, self.resolution, self.resolution

    def first(self, count: int) -> StreamedSplit:
        """The first ``count`` images, a fair sample."""
        return replace(self, names=self.names[:count], labels=self.labels[:count])

    def resized(self, resolution: int) -> StreamedSplit:
        """The same images with sides of ``resolution`` pixels."""
        return replace(self, resolution=resolution)

    def chunks(self) -> Iterator[Tensor]:
        """The centres of all images in order, some at a time: (B, 3, resolution, resolution) uint8."""
        for images in self.decoded(torch.split(torch.arange(len(self)), _CHUNK)):
            yield images.permute(0, 3, 1, 2)

    def in_memory(self) -> Split:
        """The same images, all decoded."""
        return Split(torch.cat(list(self.chunks())), self.labels)

    def decoded(self, indices: Iterable[Tensor], noise: torch.Generator | None = None) -> Iterator[Tensor]:
        """Batches (B, H, W, C) of bytes of the images at each of ``indices``, a few decoded ahead.

        Args:
            indices: (B,) int64 each.
            noise: for random crops, some of them mirrored; None for the centre of each image.

        Raises:
            DataError: a file is gone or no image.
        """
        if self.threads == 0:
            for index in indices:
                batch, random = self._empty(index, noise)
                for i, place in enumerate(index.tolist()):
                    self._decode(place, random[i], batch[i])
                yield batch
            return
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        pending: deque[tuple[Tensor, list[Future[None]]]] = deque()
        try:
            for index in indices:
                batch, random = self._empty(index, noise)
                work = [pool.submit(self._decode, p, random[i], batch[i]) for i, p in enumerate(index.tolist())]
                pending.append((batch, work))
                if len(pending) > _AHEAD:
                    yield _done(*pending.popleft())
            while pending:
                yield _done(*pending.popleft())
        finally:  # also where who asked has had enough
            pool.shutdown(cancel_futures=True)

    def _empty(self, index: Tensor, noise: torch.Generator | None) -> tuple[Tensor, list[list[float] | None]]:
        """Room for a batch, and the random numbers of each of its images."""
        batch = torch.empty((len(index), self.resolution, self.resolution, 3), dtype=torch.uint8)
        if noise is None:
            return batch, [None] * len(index)
        return batch, torch.rand((len(index), RANDOM_NUMBERS), generator=noise, dtype=torch.float64).tolist()

    def _decode(self, place: int, random: list[float] | None, target: Tensor) -> None:
        path = self.root / os.fsdecode(self.names[place])
        target.numpy()[:] = read_cropped(path, self.resolution, random)


def _done(batch: Tensor, work: list[Future[None]]) -> Tensor:
    for each in work:
        each.result()
    return batch
