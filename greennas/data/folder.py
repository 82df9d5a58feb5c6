"""A folder of image files: one subfolder a class, or ``train`` and ``val`` (and ``test``) with such subfolders each."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from greennas.data.raw import Examples, RawData, examples
from greennas.errors import DataError

DEFAULT_RESOLUTION = 32
_PNM = (".pbm", ".pgm", ".pnm", ".ppm")
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", *_PNM})
_VALIDATION = ("val", "valid", "validation")
_SPLITS = frozenset({"train", "test", *_VALIDATION})


def list_folder(folder: Path) -> RawData:
    """The image files of a folder, classes and files in the order of their names; no image is opened.

    Where all subfolders are called ``train``, ``val`` (``valid``, ``validation``) or ``test`` and ``train`` has
    subfolders, these are the official splits. A ``test`` without class subfolders has no labels and is left out.

    Raises:
        DataError: no such folder, no images, or a split with other classes than ``train``.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give the folder that has one subfolder of images a class.")
    folder = folder.absolute()  # workers may run elsewhere
    splits = {path.name: path for path in _subfolders(folder)}
    if "train" not in splits or not _SPLITS.issuperset(splits) or not _subfolders(splits["train"]):
        names, found = _listed(folder, folder)
        return RawData(names, found, root=folder)
    names, train = _listed(folder, splits["train"])
    held_out = next((splits[name] for name in _VALIDATION if name in splits), None)
    test = splits.get("test")
    return RawData(
        names,
        train,
        None if held_out is None else _listed(folder, held_out, names)[1],
        None if test is None or not _subfolders(test) else _listed(folder, test, names)[1],
        root=folder,
    )


def _listed(root: Path, folder: Path, expected: tuple[str, ...] | None = None) -> tuple[tuple[str, ...], Examples]:
    """Class names, and the files with their classes, of a folder with one subfolder a class."""
    classes = _subfolders(folder)
    names = tuple(path.name for path in classes)
    if expected is not None and names != expected:
        other = sorted(set(names) ^ set(expected))
        raise DataError(f"{folder} and {root / 'train'} differ in the class {other[0]!r}; give both the same classes.")
    files = [(each.removeprefix(f"{root}{os.sep}"), i) for i, path in enumerate(classes) for each in _images(path)]
    if not files:
        raise DataError(f"{folder} has no subfolders with images ({', '.join(sorted(_SUFFIXES))}); make one a class.")
    found = np.array([os.fsencode(file) for file, _ in files])
    return names, examples(found, [label for _, label in files], len(classes), str(folder))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[str]:
    """Paths of all images below a folder."""
    found = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    images = [path for path in found if os.path.splitext(path)[1].lower() in _SUFFIXES]
    return sorted(images, key=lambda path: path.split(os.sep))
