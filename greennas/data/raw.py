"""What every format's reader hands over, and the checks that hold for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greennas.errors import DataError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
FileNames = NDArray[np.bytes_]
"""Paths as the file system spells them: an array of them is small, and picked from like any other."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Images (N, C, H, W) uint8, or the names (N,) of their files, with labels (N,) int64, as published."""

    images: NDArray[Any]
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class RawData:
    """A data set as published: its official splits, where it has them, and its class names.

    ``root`` is the folder of the files whose names stand for the images; None where the images are here.
    """

    class_names: tuple[str, ...]
    train: Examples
    validation: Examples | None = None
    test: Examples | None = None
    root: Path | None = None


def examples(images: NDArray[Any], labels: Sequence[int] | NDArray[np.generic], classes: int, source: str) -> Examples:
    """Images and labels that fit each other.

    Raises:
        DataError: their counts disagree, or a label is no number of 0..classes-1; names ``source``.
    """
    try:
        targets = np.asarray(labels, dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{source} has labels that are no classes ({error}); get the file again.") from error
    if targets.ndim != 1:
        raise DataError(f"{source} has labels of shape {targets.shape}, not one an image; get the file again.")
    if len(images) != len(targets):
        raise DataError(
            f"{source} has {len(images):,} images but {len(targets):,} labels; "
            "the files are damaged or do not belong together, so get them again."
        )
    if len(targets) and not (targets.min() >= 0 and targets.max() < classes):
        raise DataError(
            f"{source} has labels from {targets.min()} to {targets.max()}, but there are {classes} classes "
            f"(0 to {classes - 1}); check that it is the right data set."
        )
    return Examples(np.ascontiguousarray(images), targets)
