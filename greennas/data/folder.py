"""Pictures: a folder with one subfolder of image files a class, and pictures of any size as arrays."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from greennas.data.raw import Images, RawData, examples
from greennas.errors import DataError

DEFAULT_RESOLUTION = 32
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


def read_folder(folder: Path, resolution: int | None) -> RawData:
    """Class subfolders of images, classes and files in the order of their names.

    Images become RGB of ``resolution`` x ``resolution`` (default 32), stretched where they are not square.

    Raises:
        DataError: no such folder, no images, a file that is not an image, or Pillow is missing.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give the folder that has one subfolder of images a class.")
    pillow = _pillow()
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [(label, path) for label, each in enumerate(classes) for path in _images(each)]
    if not files:
        raise DataError(f"{folder} has no subfolders with images ({', '.join(sorted(_SUFFIXES))}); make one a class.")
    pictures = np.stack([_open(pillow, path, resolution or DEFAULT_RESOLUTION) for _, path in files])
    labels = [label for label, _ in files]
    return RawData(tuple(each.name for each in classes), examples(pictures, labels, len(classes), str(folder)))


def picture(image: Any, resolution: int) -> Images:
    """A Pillow image as (3, resolution, resolution) uint8 RGB."""
    resized = image.convert("RGB").resize((resolution, resolution), resample=2)  # 2: bilinear
    return np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1)


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())


def _open(pillow: ModuleType, path: Path, resolution: int) -> Images:
    try:
        with pillow.open(path) as image:
            return picture(image, resolution)
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise DataError(f"{path} is not an image that can be read ({error}); remove or replace it.") from error


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("folder: reads images with Pillow; install it with: pip install 'greennas[images]'.") from error
    return Image
