"""Find a data set by name and cut its one fixed split."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from greennas.data.cifar import read_cifar
from greennas.data.dataset import AnySplit, Dataset
from greennas.data.folder import DEFAULT_RESOLUTION, list_folder
from greennas.data.huggingface import read_huggingface
from greennas.data.idx import read_idx_set
from greennas.data.pictures import pillow, read_stretched
from greennas.data.raw import Examples, RawData, examples
from greennas.data.split import Split
from greennas.data.streamed import StreamedSplit
from greennas.errors import DataError
from greennas.machine import usable_cores

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "folder:DIR", "hf:NAME")
MIN_IMAGES_PER_CLASS = 10
VALIDATION_SHARE = 0.2
TEST_SHARE = 0.2
DEFAULT_MEMORY_GB = 1.0
"""Decoded images of a folder beyond this are streamed; a constant, so that every machine does the same."""
_STATISTICS_IMAGES = 512
"""Train images of a streamed folder that mean and deviation are taken from."""
_STREAMED = (
    "images streamed from their files: the centre, 7/8 of the shorter side, resized to a square; mean and deviation "
    f"are those of the first {_STATISTICS_IMAGES} train images"
)
_SPLIT_SEED = 20240229  # a constant: the split is the same for every search and every seed


def load_data(
    name: str,
    data_dir: str | Path | None = None,
    *,
    train_images: int | None = None,
    validation_images: int | None = None,
    resolution: int | None = None,
    memory_gb: float = DEFAULT_MEMORY_GB,
    decode_threads: int | None = None,
) -> Dataset:
    """Load a data set and cut its one fixed, stratified split.

    Where the set has an official test split, that is the test split and 20% of the train images become
    the validation split; else 20% are cut off for each. An official validation split is kept.

    Args:
        name: ``digits`` (scikit-learn's, 1x8x8), ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``,
            ``folder:DIR`` (one subfolder of images a class) or ``hf:NAME`` (the library ``datasets``).
        data_dir: folder of the published files, for the four sets that have them.
        train_images: take only so many of the train split, always the same, stratified.
        validation_images: the same for the validation split.
        resolution: height and width to resize to (default: as published; folder and hf: 32).
        memory_gb: gigabytes (1e9) that the decoded images of a ``folder:`` may take; where they would take more, they
            stay in their files and are decoded when they are needed.
        decode_threads: for such a folder, as for ``StreamedSplit``; None: one a core.

    Raises:
        DataError: unknown name, missing or damaged files, too few images or classes.
    """
    if resolution is not None and not 4 <= resolution <= 1024:
        raise DataError(f"A resolution of {resolution} is out of range; choose 4 to 1024.")
    raw = _read(name, Path(data_dir).expanduser() if data_dir is not None else None, resolution)
    if raw.root is not None:
        pillow()  # that it is missing is said before anything else
    classes = len(raw.class_names)
    _check(raw, name)
    train, validation, test = _split(raw)
    notes: list[str] = []
    for part, wanted in (("train", train_images), ("validation", validation_images)):
        if wanted is None:
            continue
        whole = train if part == "train" else validation
        cut = _subset(whole, wanted, classes, name, part)
        notes.append(f"{part}: {len(cut):,} of {len(whole):,} images, a fixed stratified subset")
        train, validation = (cut, validation) if part == "train" else (train, cut)
    parts = [_mixed(part) for part in (train, validation, test)]
    splits: list[AnySplit]
    if raw.root is None:
        splits = [_tensors(part, resolution) for part in parts]
    else:
        side = resolution or DEFAULT_RESOLUTION
        if 3 * side**2 * sum(map(len, parts)) <= memory_gb * 1e9:
            splits = [_decoded(raw.root, part, side) for part in parts]
        else:
            threads = usable_cores() if decode_threads is None else decode_threads
            splits = [_streamed(raw.root, part, side, threads) for part in parts]
            notes.append(_STREAMED)
    streamed = isinstance(splits[0], StreamedSplit)
    mean, std = _statistics(splits[0].first(_STATISTICS_IMAGES) if streamed else splits[0])
    return Dataset(name, splits[0], splits[1], splits[2], classes, raw.class_names, mean, std, tuple(notes))


def _read(name: str, data_dir: Path | None, resolution: int | None) -> RawData:
    kind, _, rest = name.partition(":")
    if data_dir is not None and not data_dir.exists():
        raise DataError(f"There is no folder {data_dir}; check --data-dir.")
    if name == "digits":
        return _digits()
    if name in ("mnist", "fashion-mnist"):
        return read_idx_set(name, data_dir)
    if name in ("cifar10", "cifar100"):
        return read_cifar(name, data_dir)
    if kind == "folder" and rest:
        return list_folder(Path(rest).expanduser())
    if kind == "hf" and rest:
        return read_huggingface(rest, resolution)
    raise DataError(f"There is no data set {name!r}; choose one of {', '.join(NAMES)}.")


def _digits() -> RawData:
    """The 1,797 8x8 digits that come with scikit-learn (UCI's Optical Recognition of Handwritten Digits)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, np.newaxis]
    names = tuple(str(label) for label in bunch.target_names)
    return RawData(names, examples(images, bunch.target, len(names), "digits"))


def _check(raw: RawData, name: str) -> None:
    if len(raw.class_names) < 2:
        raise DataError(f"{name} has one class only ({', '.join(raw.class_names)}); a classifier needs two or more.")
    counts = np.bincount(raw.train.labels, minlength=len(raw.class_names))
    fewest = int(counts.argmin())
    if counts[fewest] < MIN_IMAGES_PER_CLASS:
        raise DataError(
            f"{name} has {counts[fewest]} train images of class {raw.class_names[fewest]!r}; "
            f"give at least {MIN_IMAGES_PER_CLASS} a class."
        )
    for part in (raw.validation, raw.test):
        if part is not None and part.images.shape[1:] != raw.train.images.shape[1:]:
            raise DataError(
                f"{name} has images of {raw.train.images.shape[1:]} to train on but of {part.images.shape[1:]} "
                "held out; check that the files belong together."
            )
        if part is not None and len(part) < len(raw.class_names):
            raise DataError(
                f"{name} holds out {len(part)} images for {len(raw.class_names)} classes; give at least one a class."
            )


def _split(raw: RawData) -> tuple[Examples, Examples, Examples]:
    """Train, validation and test in a fixed mixed order; what is not official is cut from the train images."""
    generator = np.random.default_rng(_SPLIT_SEED)
    total = len(raw.train)
    rest = generator.permutation(total)
    held_out: list[Examples] = []
    for official, share in ((raw.test, TEST_SHARE), (raw.validation, VALIDATION_SHARE)):
        if official is None:
            chosen = _stratified(raw.train.labels[rest], round(share * total), len(raw.class_names))
            held_out.append(_take(raw.train, rest[chosen]))
            rest = rest[~chosen]
        else:
            held_out.append(_take(official, generator.permutation(len(official))))
    test, validation = held_out
    return _take(raw.train, rest), validation, test


def _stratified(labels: NDArray[np.int64], count: int, classes: int) -> NDArray[np.bool_]:
    """Mask of ``count`` positions, the first ones of each class, in the classes' proportions, at least one of each."""
    counts = np.bincount(labels, minlength=classes)
    shares = counts * (count / len(labels))
    quotas = np.maximum(np.floor(shares).astype(np.int64), np.minimum(counts, 1))
    by_remainder = np.argsort(quotas - shares, kind="stable")  # largest remainder method
    for position in range(max(0, count - int(quotas.sum()))):
        quotas[by_remainder[position % classes]] += 1
    while quotas.sum() > count and quotas.max() > 1:  # where rare classes took more than their share
        quotas[quotas.argmax()] -= 1
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label in range(classes):
        mask[np.flatnonzero(labels == label)[: quotas[label]]] = True
    return mask


def _subset(part: Examples, count: int, classes: int, name: str, split: str) -> Examples:
    fewest = classes * MIN_IMAGES_PER_CLASS
    if len(part) < fewest:
        raise DataError(
            f"{name}'s {split} split has {len(part):,} images, too few for a subset of {fewest:,} or more "
            f"({MIN_IMAGES_PER_CLASS} a class); leave {split}_images out to take all."
        )
    if not fewest <= count <= len(part):
        raise DataError(
            f"{count:,} images of {name}'s {split} split cannot be taken; choose from {fewest:,} "
            f"({MIN_IMAGES_PER_CLASS} a class) to {len(part):,}."
        )
    return _take(part, np.flatnonzero(_stratified(part.labels, count, classes)))


def _take(part: Examples, positions: NDArray[np.int64]) -> Examples:
    return Examples(part.images[positions], part.labels[positions])


def _streamed(root: Path, part: Examples, resolution: int, threads: int) -> StreamedSplit:
    return StreamedSplit(root, part.images, torch.from_numpy(part.labels), resolution, threads)


def _decoded(root: Path, part: Examples, resolution: int) -> Split:
    """The images of files, stretched where they are not square."""
    paths = [root / os.fsdecode(name) for name in part.images]
    with ThreadPoolExecutor(usable_cores()) as pool:
        pictures = list(pool.map(lambda path: read_stretched(path, resolution), paths))
    return Split(torch.from_numpy(np.stack(pictures)), torch.from_numpy(part.labels))


def _mixed(part: Examples) -> Examples:
    """In a fixed order of chance: what a stratified cut leaves begins with the classes that it finished first."""
    return _take(part, np.random.default_rng(_SPLIT_SEED).permutation(len(part)))


def _tensors(part: Examples, resolution: int | None) -> Split:
    split = Split(torch.from_numpy(part.images), torch.from_numpy(part.labels))
    return split if resolution is None else split.resized(resolution)


def _statistics(split: AnySplit) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in units of 0..1, from the histograms of the byte values (exact)."""
    counts = torch.zeros(split.image_shape[0], 256, dtype=torch.int64)
    for images in split.chunks():
        for channel, count in enumerate(counts):
            count += torch.bincount(images[:, channel].flatten().int(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    weights = counts.double() / counts.sum(dim=1, keepdim=True)
    means = weights @ values
    variances = (weights * (values - means[:, None]) ** 2).sum(dim=1)
    # a constant channel must not divide by zero
    return tuple(means.tolist()), tuple(variances.sqrt().clamp(min=1 / 255).tolist())
