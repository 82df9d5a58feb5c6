"""A data set, and its two files: what the search may see, and the test split apart.

They hold the images, or the names of their files where these are streamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from greennas.data.split import Split
from greennas.data.streamed import StreamedSplit
from greennas.errors import DataError
from greennas.tensorfile import read_tensors, write_tensors

SEARCH_FILE = "search.safetensors"
TEST_FILE = "test.safetensors"
_FORMAT = "greennas-data-2"


AnySplit = Split | StreamedSplit
"""A part of a data set: its images in memory, or in their files."""


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
    train: AnySplit
    validation: AnySplit
    test: AnySplit | None
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        return self.train.image_shape

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
            "streamed": json.dumps(_streaming(self.train)),
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
            streaming = json.loads(metadata["streamed"])
            return cls(
                name=metadata["name"],
                train=_split(tensors, "train", streaming),
                validation=_split(tensors, "validation", streaming),
                test=_split(tensors, "test", streaming) if test else None,
                num_classes=len(names),
                class_names=names,
                mean=tuple(json.loads(metadata["mean"])),
                std=tuple(json.loads(metadata["std"])),
                notes=tuple(json.loads(metadata["notes"])),
            )
        except (KeyError, ValueError) as error:
            raise DataError(f"The data set in {directory} lacks {error}; prepare the data again.") from error


def _tensors(**splits: AnySplit) -> dict[str, Tensor]:
    """Images, or names of files as bytes (N, length of the longest), and labels, by split."""
    found: dict[str, Tensor] = {}
    for name, split in splits.items():
        found[f"{name}.labels"] = split.labels
        if isinstance(split, StreamedSplit):
            spelled = np.ascontiguousarray(split.names)
            found[f"{name}.names"] = torch.from_numpy(spelled.view(np.uint8).reshape(len(spelled), -1))
        else:
            found[f"{name}.images"] = split.images
    return found


def _streaming(split: AnySplit) -> dict[str, Any] | None:
    """How a split's files are read; None where its images are in memory."""
    if not isinstance(split, StreamedSplit):
        return None
    return {"root": os.fspath(split.root), "resolution": split.resolution, "threads": split.threads}


def _split(tensors: Mapping[str, Tensor], name: str, streaming: dict[str, Any] | None) -> AnySplit:
    labels = tensors[f"{name}.labels"]
    if streaming is None:
        return Split(tensors[f"{name}.images"], labels)
    spelled = tensors[f"{name}.names"].numpy()
    names = spelled.view(f"S{spelled.shape[1]}").reshape(-1)
    return StreamedSplit(Path(streaming["root"]), names, labels, streaming["resolution"], streaming["threads"])


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != _FORMAT:
        raise DataError(f"{path} is not a data set of this version of GreenNAS; prepare the data again.")
    return tensors, metadata
