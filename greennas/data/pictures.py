"""Image files: opened, cropped and resized by Pillow, which lets other threads run while it decodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from greennas.data.raw import Images
from greennas.errors import DataError

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge of a part of an image, in its pixels."""
RANDOM_NUMBERS = 5
"""Uniform random numbers that one random crop takes."""
_CENTRE = 0.875
"""Share of the shorter side that an evaluation sees: 224 of 256 pixels."""
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_BILINEAR = 2
_BITS_PER_SAMPLE = 258
"""The tag of a TIFF."""


def stretched(image: Any, resolution: int) -> Images:
    """The whole of a Pillow image as (3, resolution, resolution) uint8 RGB.

    Raises:
        DataError: its pixels have no known range.
    """
    resized = _coloured(image).resize((resolution, resolution), resample=_BILINEAR)
    return np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1)


def read_stretched(path: Path, resolution: int) -> Images:
    """The whole image of a file as (3, resolution, resolution) uint8 RGB.

    Raises:
        DataError: it is not an image, its pixels have no known range, or Pillow is missing.
    """
    with _opened(path) as image:
        return stretched(image, resolution)


def read_cropped(path: Path, resolution: int, random: Sequence[float] | None = None) -> Images:
    """A square crop of the image of a file as (resolution, resolution, 3) uint8 RGB.

    A JPEG is decoded at a half, a quarter or an eighth of its size where the crop has pixels enough then.

    Args:
        path: of the file.
        resolution: height and width.
        random: ``RANDOM_NUMBERS`` numbers from [0, 1) for a random crop that may be mirrored; None for the centre.

    Raises:
        DataError: it is not an image, its pixels have no known range, or Pillow is missing.
    """
    with _opened(path) as image:
        width, height = image.size
        box = _centre_box(width, height) if random is None else _random_box(width, height, random)
        spare = min(box[2] - box[0], box[3] - box[1]) / resolution
        if spare > 1:
            image.draft("RGB", (math.ceil(width / spare), math.ceil(height / spare)))
        scale_x, scale_y = image.size[0] / width, image.size[1] / height
        scaled = (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)
        cut = _coloured(image).resize((resolution, resolution), resample=_BILINEAR, box=scaled)
        pixels: Images = np.asarray(cut, dtype=np.uint8)
        return pixels[:, ::-1] if random is not None and random[4] < 0.5 else pixels


def _coloured(image: Any) -> Any:
    """A Pillow image as 8-bit RGB, deeper greys scaled to it: ``convert`` cuts off all that lies above 255."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        full = 4095 if getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,) else 65535
        if grey.min() < 0 or grey.max() > full:
            raise DataError(f"{_name(image)} has values from {grey.min()} to {grey.max()}; save it with 8 or 16 bits.")
        image = pillow().fromarray(((grey * 255 + full // 2) // full).astype(np.uint8))
    elif image.mode == "F":
        raise DataError(f"{_name(image)} has floating-point pixels, whose range is unknown; save it with 8 or 16 bits.")
    return image if image.mode == "RGB" else image.convert("RGB")


def _name(image: Any) -> str:
    return getattr(image, "filename", "") or "An image"


def _centre_box(width: int, height: int) -> Box:
    """The square in the middle: as if the shorter side were resized to 256 for a crop of 224."""
    side = _CENTRE * min(width, height)
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side


def _random_box(width: int, height: int, random: Sequence[float]) -> Box:
    """A part of 8-100% of the area and an aspect ratio of 3/4 to 4/3, log-uniform, anywhere in the image.

    The crop of C. Szegedy et al., arXiv 1409.4842; one that does not fit is cut to the image, not drawn again, so that
    each image takes the same count of random numbers.
    """
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * random[0]) * width * height
    low, high = map(math.log, _RATIO)
    ratio = math.exp(low + (high - low) * random[1])
    w, h = min(math.sqrt(area * ratio), width), min(math.sqrt(area / ratio), height)
    left, upper = (width - w) * random[2], (height - h) * random[3]
    return left, upper, left + w, upper + h


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    module = pillow()
    try:
        with module.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {path}; streamed images have to stay where they were, at the same path on every machine."
        ) from error
    except (OSError, ValueError, SyntaxError, module.DecompressionBombError) as error:
        raise DataError(f"{path} is not an image that can be read ({error}); remove or replace it.") from error


def pillow() -> ModuleType:
    """Pillow's module ``Image``.

    Raises:
        DataError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("folder: reads images with Pillow; install it with: pip install 'greennas[images]'.") from error
    return Image
