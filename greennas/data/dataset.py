"""A data set in memory, and its two files: what the search may see, and the test split apart."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from greennas.errors import DataError
from greennas.tensorfile import read_tensors, write_tensors

SEARCH_FILE = "search.safetensors"
TEST_FILE = "test.safetensors"
_FORMAT = "greennas-data-1"


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

    def first(self, count: int) -> Split:
        """The first ``count`` images, a fair sample."""
        return Split(self.images[:count], self.labels[:count])

    def resized(self, resolution: int) -> Split:
        """The same images with sides of ``resolution`` pixels, (N, C, resolution, resolution), antialiased."""
        if self.images.shape[2:] == (resolution, resolution):
            return self
        return Split(torch.cat([_resized(part, resolution) for part in torch.split(self.images, 4096)]), self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with its one fixed split.

    Attributes:
        name: what ``load_data`` was given.
        train: what networks are trained on.
        validation: what the search compares networks on.
        test: for the final front only; None where it was not loaded.
        num_classes: number of classes.
        class_names: one a class.
        mean: per channel, of the train split, in units of 0..1.
        std: per channel, of the train split, in units of 0..1; never 0.
        notes: what is not as published, such as a subset of the train split.
    """

    name: str
    train: Split
    validation: Split
    test: Split | None
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def reduced(self, resolution: int | None = None, data_share: float = 1.0) -> Dataset:
        """For a cheaper training: smaller images, and a part of the train split; the test split is left out.

        Args:
            resolution: height and width in pixels; None: as they are.
            data_share: how much of the train split, above 0 to 1, always the same images. All are validated on.
        """
        train, validation = self.train, self.validation
        if data_share < 1:
            train = train.first(max(1, round(data_share * len(train))))
        if resolution is not None:
            train, validation = train.resized(resolution), validation.resized(resolution)
        return replace(self, train=train, validation=validation, test=None)

    def save(self, directory: str | Path) -> None:
        """Write ``search.safetensors`` (train and validation) and, apart from it, ``test.safetensors``.

        Each file is replaced whole or not at all. Without a test split, a test file that lies there is
        removed, since it may belong to another data set.

        Raises:
            DataError: the directory cannot be written.
        """
        directory = Path(directory)
        metadata = {
            "format": _FORMAT,
            "name": self.name,
            "class_names": json.dumps(self.class_names),
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
            "notes": json.dumps(self.notes),
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if self.test is None:
                (directory / TEST_FILE).unlink(missing_ok=True)
            else:
                write_tensors(directory / TEST_FILE, _tensors(test=self.test), metadata)
            search = _tensors(train=self.train, validation=self.validation)
            write_tensors(directory / SEARCH_FILE, search, metadata)
        except OSError as error:
            raise DataError(
                f"The data set cannot be written to {directory}: {error}; choose another folder."
            ) from error

    @classmethod
    def load(cls, directory: str | Path, test: bool = False) -> Dataset:
        """Read what ``save`` wrote; the file with the test split is opened only with ``test=True``.

        Raises:
            DataError: a file is missing, damaged, of another version or of another data set.
        """
        directory = Path(directory)
        tensors, metadata = _read(directory / SEARCH_FILE)
        if test:
            tests, test_metadata = _read(directory / TEST_FILE)
            if test_metadata != metadata:
                raise DataError(
                    f"{TEST_FILE} and {SEARCH_FILE} in {directory} are of different data sets; prepare the data again."
                )
            tensors |= tests
        try:
            names = tuple(json.loads(metadata["class_names"]))
            return cls(
                name=metadata["name"],
                train=Split(tensors["train.images"], tensors["train.labels"]),
                validation=Split(tensors["validation.images"], tensors["validation.labels"]),
                test=Split(tensors["test.images"], tensors["test.labels"]) if test else None,
                num_classes=len(names),
                class_names=names,
                mean=tuple(json.loads(metadata["mean"])),
                std=tuple(json.loads(metadata["std"])),
                notes=tuple(json.loads(metadata["notes"])),
            )
        except (KeyError, ValueError) as error:
            raise DataError(f"The data set in {directory} lacks {error}; prepare the data again.") from error


def _resized(images: Tensor, resolution: int) -> Tensor:
    size = (resolution, resolution)
    resized = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _tensors(**splits: Split) -> dict[str, Tensor]:
    return {
        f"{name}.{part}": tensor
        for name, split in splits.items()
        for part, tensor in (("images", split.images), ("labels", split.labels))
    }


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != _FORMAT:
        raise DataError(f"{path} is not a data set of this version of GreenNAS; prepare the data again.")
    return tensors, metadata
