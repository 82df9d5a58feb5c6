"""Folders of images as tests need them: of classes that can be told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def write_jpegs(folder: Path, each: int, size: int, seed: int = 0) -> None:
    """``each`` JPEGs for each class, ``size`` pixels a side give or take a third, smooth and of the class's colour."""
    rng = np.random.default_rng(seed)
    for channel, name in zip((2, 1, 0), CLASSES, strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 120, (6, 6, 3), dtype=np.uint8)
            pixels[..., channel] += 90
            width, height = (int(side) for side in rng.integers(2 * size // 3, 4 * size // 3, 2))
            picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
            picture.save(folder / name / f"{i:04}.jpg", quality=85)


def write_imagenet(folder: Path, each: int = 20, size: int = 120) -> Path:
    """``train`` and ``val`` with class subfolders, as ImageNet is laid out."""
    write_jpegs(folder / "train", each, size)
    write_jpegs(folder / "val", each // 2, size, seed=1)
    return folder


def write_noise(folder: Path, each: int = 40) -> None:
    """Two classes of small images: dark and bright ones."""
    rng = np.random.default_rng(0)
    for label, mean in (("dark", 60), ("bright", 190)):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            noise = rng.normal(mean, 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / label / f"{i}.png")
