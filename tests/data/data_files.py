"""Published files of data sets, written by tests."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from greennas.data import Dataset

RNG = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder: Path, train: int = 200, test: int = 50, suffix: str = "") -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for prefix, count in (("train", train), ("t10k", test)):
        arrays[prefix] = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", arrays[prefix])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(count) % 10)
    return arrays


def pixels_of(dataset: Dataset) -> set[bytes]:
    assert dataset.test is not None
    splits = (dataset.train, dataset.validation, dataset.test)
    return {image.numpy().tobytes() for split in splits for image in split.images}


def write_pictures(folder: Path, classes: dict[str, int]) -> None:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            color = (255, i, 0) if name == "red" else (0, i, 255)
            Image.new("RGB", (20 + i, 30), color).save(folder / name / f"{i:03}.png")
