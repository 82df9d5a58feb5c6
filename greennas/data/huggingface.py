"""``hf:NAME``: image classification sets through the optional library ``datasets``, from its hub or from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from greennas.data.folder import DEFAULT_RESOLUTION
from greennas.data.pictures import stretched
from greennas.data.raw import Examples, RawData, examples
from greennas.errors import DataError

_LABEL_COLUMNS = ("label", "labels", "fine_label", "class")
_VALIDATION_NAMES = ("validation", "valid", "val")


def read_huggingface(name: str, resolution: int | None) -> RawData:
    """A data set of the hub, or a local one: what ``save_to_disk`` wrote, or a folder that ``load_dataset`` reads.

    Images become RGB of ``resolution`` x ``resolution`` (default 32). Code that comes with a data set is not run.

    Raises:
        DataError: the library is missing, the set cannot be loaded, or has no image and class label column.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "hf: reads with the library datasets; install it with: pip install 'greennas[hf,images]'."
        ) from error
    path = Path(name).expanduser()
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = datasets.load_dataset(str(path) if path.exists() else name)
    except Exception as error:
        raise DataError(
            f"The data set {name!r} cannot be loaded: {error}; check its name, the network, or give a local folder."
        ) from error
    splits: dict[str, Any] = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    if "train" not in splits:
        raise DataError(f"The data set {name!r} has no split 'train', only {', '.join(splits)}; choose another.")
    image, label = _columns(name, splits["train"].features, datasets)
    names = tuple(splits["train"].features[label].names)
    size = resolution or DEFAULT_RESOLUTION

    def read(split: str | None) -> Examples | None:
        if split is None or split not in splits:
            return None
        labels = np.asarray(splits[split][label])
        if (labels < 0).any():  # a test split whose labels are kept secret
            return None
        pictures = np.stack([stretched(row[image], size) for row in splits[split]])
        return examples(pictures, labels, len(names), f"{name} ({split})")

    train = read("train")
    if train is None:
        raise DataError(f"The data set {name!r} has train images without labels; choose another.")
    held_out = next((split for split in _VALIDATION_NAMES if split in splits), None)
    return RawData(names, train, read(held_out), read("test"))


def _columns(name: str, features: Any, datasets: Any) -> tuple[str, str]:
    images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not images or not labels:
        raise DataError(
            f"The data set {name!r} has the columns {', '.join(features)}; "
            "choose one with a column of type Image and one of type ClassLabel."
        )
    return images[0], next((column for column in _LABEL_COLUMNS if column in labels), labels[0])
