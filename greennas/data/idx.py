"""MNIST and Fashion-MNIST: IDX files (http://yann.lecun.com/exdb/mnist/), gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from greennas.data.raw import Examples, RawData, examples
from greennas.errors import DataError, bare_reason

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
}  # fmt: skip
_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
_GZIP = b"\x1f\x8b"


def read_idx_set(name: str, data_dir: Path | None) -> RawData:
    """The four IDX files of ``mnist`` or ``fashion-mnist`` below ``data_dir``.

    Raises:
        DataError: no such files, or damaged ones.
    """
    if data_dir is None:
        if name == "mnist":
            raise DataError("Where are the MNIST files? Give --data-dir, the folder with train-images-idx3-ubyte.gz.")
        if not DEBIAN_FASHION_MNIST.is_dir():
            raise DataError(
                f"Fashion-MNIST is not in {DEBIAN_FASHION_MNIST}; install Debian's package dataset-fashion-mnist, "
                "or give --data-dir, the folder with train-images-idx3-ubyte.gz."
            )
        data_dir = DEBIAN_FASHION_MNIST
    folders = (data_dir, data_dir / name, data_dir / _FOLDERS[name] / "raw", data_dir / "raw")
    names = _CLASS_NAMES[name]
    return RawData(names, _part(folders, "train", len(names)), test=_part(folders, "t10k", len(names)))


def _part(folders: tuple[Path, ...], prefix: str, classes: int) -> Examples:
    images_file = _find(folders, f"{prefix}-images", "idx3-ubyte")
    images = _read(images_file, 3)
    labels = _read(_find(folders, f"{prefix}-labels", "idx1-ubyte"), 1)
    return examples(images[:, np.newaxis], labels, classes, str(images_file))


def _find(folders: tuple[Path, ...], stem: str, suffix: str) -> Path:
    for folder in folders:
        for name in (f"{stem}-{suffix}", f"{stem}.{suffix}"):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
    raise DataError(f"There is no {stem}-{suffix} (or .gz) in {folders[0]}; put the four published IDX files there.")


def _read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Array of unsigned bytes with ``dimensions`` axes: magic 0x0000080N, N sizes (big-endian), the values."""
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({bare_reason(error)}); get the file again.") from error
    header = 4 * (1 + dimensions)
    magic = 0x800 + dimensions
    if len(data) < header or struct.unpack_from(">I", data)[0] != magic:
        raise DataError(
            f"{path} is not an IDX file of {dimensions}-dimensional bytes (magic {magic:#010x}); get it again."
        )
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    values = np.frombuffer(data, np.uint8, offset=header)
    expected = int(np.prod(shape, dtype=object))
    if values.size != expected:
        raise DataError(
            f"{path} says shape {shape}, which is {expected:,} bytes, but holds {values.size:,}; get the file again."
        )
    return values.reshape(shape)
