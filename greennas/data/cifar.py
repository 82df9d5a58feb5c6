"""CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html), as binary or Python version."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from greennas.data.pickles import read_pickled_dict
from greennas.data.raw import Examples, RawData, examples
from greennas.errors import DataError

_PIXELS = 3 * 32 * 32
_CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class _Layout:
    """How one of the four published archives is made up."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int
    label_key: str


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_LAYOUTS = {
    "cifar10": (
        _Layout(
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            tuple(f"{batch}.bin" for batch in _BATCHES),
            "test_batch.bin",
            "batches.meta.txt",
            1,
            "",
        ),
        _Layout("cifar-10-batches-py", "cifar-10-python.tar.gz", _BATCHES, "test_batch", "batches.meta", 0, "labels"),
    ),
    "cifar100": (
        _Layout(
            "cifar-100-binary", "cifar-100-binary.tar.gz", ("train.bin",), "test.bin", "fine_label_names.txt", 2, ""
        ),
        _Layout("cifar-100-python", "cifar-100-python.tar.gz", ("train",), "test", "meta", 0, "fine_labels"),
    ),
}
_CLASSES = {"cifar10": 10, "cifar100": 100}


def read_cifar(name: str, data_dir: Path | None) -> RawData:
    """``cifar10`` or ``cifar100`` (fine labels) below ``data_dir``, which may be the archive itself.

    Raises:
        DataError: no such files, a batch is missing or damaged, or a pickle holds more than data.
    """
    layouts = _LAYOUTS[name]
    archives = " or ".join(layout.archive for layout in layouts)
    if data_dir is None:
        raise DataError(f"Where is {name}? Give --data-dir, the folder with {archives}, or with what is in it.")
    for layout in layouts:
        files = _files(data_dir, layout)
        if files is not None:
            return _read(files, layout, _CLASSES[name])
    raise DataError(f"There is no {name} in {data_dir}; put {archives} there, or what is in it.")


def _files(data_dir: Path, layout: _Layout) -> dict[str, bytes] | None:
    """Contents of the layout's files by name, or None where it is not there."""
    wanted = {*layout.train, layout.test, layout.names}
    for folder in (data_dir, data_dir / layout.folder):
        if (folder / layout.train[0]).is_file():
            present = (folder / name for name in sorted(wanted))
            return _complete({path.name: path.read_bytes() for path in present if path.is_file()}, layout, folder)
    for archive in (data_dir, data_dir / layout.archive):
        if archive.is_file():
            found = _unpack(archive, wanted)
            if layout.train[0] in found:
                return _complete(found, layout, archive)
    return None


def _unpack(archive: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Read members into memory by base name; nothing is extracted, so no path of the archive matters."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                stream = tar.extractfile(member) if name in wanted and member.isfile() else None
                if stream is not None:
                    found[name] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{archive} is not a whole .tar.gz archive ({error}); get it again.") from error
    return found


def _complete(files: dict[str, bytes], layout: _Layout, place: Path) -> dict[str, bytes]:
    missing = [name for name in (*layout.train, layout.test) if name not in files]
    if missing:
        raise DataError(f"{place} lacks {', '.join(missing)}; get the whole {layout.archive}.")
    return files


def _read(files: Mapping[str, bytes], layout: _Layout, classes: int) -> RawData:
    batches = [_batch(files[name], name, layout, classes) for name in layout.train]
    train = Examples(
        np.concatenate([batch.images for batch in batches]), np.concatenate([batch.labels for batch in batches])
    )
    return RawData(_names(files, layout, classes), train, test=_batch(files[layout.test], layout.test, layout, classes))


def _batch(data: bytes, name: str, layout: _Layout, classes: int) -> Examples:
    if layout.label_bytes:  # binary: label byte(s), the last one the fine label, then the pixels
        row = layout.label_bytes + _PIXELS
        if not data or len(data) % row:
            raise DataError(f"{name} has {len(data):,} bytes, not a multiple of {row:,}; get the file again.")
        rows = np.frombuffer(data, np.uint8).reshape(-1, row)
        pixels, labels = rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1]
        return examples(pixels.reshape(-1, 3, 32, 32), labels, classes, name)
    batch = read_pickled_dict(data, name)
    if "data" not in batch or layout.label_key not in batch:
        raise DataError(f"{name} has no 'data' and '{layout.label_key}'; check that it is the right data set.")
    images, targets = batch["data"], batch[layout.label_key]
    if not (isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == (_PIXELS,)):
        raise DataError(f"{name} holds no (N, {_PIXELS}) array of bytes under 'data'; get the file again.")
    listed = isinstance(targets, list | tuple) and all(isinstance(label, int) for label in targets)
    if not (listed or isinstance(targets, np.ndarray)):
        raise DataError(f"{name} has labels that are no whole numbers; get the file again.")
    return examples(images.reshape(-1, 3, 32, 32), targets, classes, name)


def _names(files: Mapping[str, bytes], layout: _Layout, classes: int) -> tuple[str, ...]:
    """Class names of the archive, or where it has none the known or numbered ones."""
    data = files.get(layout.names)
    names: list[str] = []
    if data is not None and layout.label_bytes:
        names = data.decode("utf-8", "replace").split()
    elif data is not None:
        key = layout.label_key[:-1] + "_names"
        found = read_pickled_dict(data, layout.names).get(key, [])
        if not isinstance(found, list | tuple):
            raise DataError(f"{layout.names} holds no list of names under '{key}'; get the file again.")
        names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in found]
    if len(names) == classes:
        return tuple(names)
    return _CIFAR10_NAMES if classes == 10 else tuple(str(i) for i in range(classes))
