from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from data_files import write_idx, write_mnist, write_pictures

from greennas.data import load_data
from greennas.errors import DataError


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"greennas\[hf,images\]"):
        load_data("hf:anything")


@pytest.mark.parametrize("on_disk", [True, False])
def test_local_huggingface_data_set(tmp_path: Path, on_disk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_CACHE_HOME", tmp_path / "cache", raising=False)
    write_pictures(tmp_path / "pictures" / "train", {"red": 20, "blue": 20})
    write_pictures(tmp_path / "pictures" / "test", {"red": 5, "blue": 5})
    place = tmp_path / "pictures"
    if on_disk:
        loaded = datasets.load_dataset("imagefolder", data_dir=str(place), cache_dir=str(tmp_path / "cache"))
        place = tmp_path / "saved"
        loaded.save_to_disk(str(place))
    dataset = load_data(f"hf:{place}", resolution=8)
    assert dataset.test is not None
    assert dataset.class_names == ("blue", "red")
    assert dataset.input_shape == (3, 8, 8)
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [32, 8, 10]
    assert (dataset.test.images[dataset.test.labels == 1][:, 0] == 255).all()
    with pytest.raises(DataError, match="cannot be loaded"):
        load_data(f"hf:{tmp_path / 'nothing' / 'here'}")


class _Feature:
    def __init__(self, *names: str) -> None:
        self.names = names


class _Rows:
    """As much of a split of the library datasets as is looked at before its images are."""

    def __init__(self, features: dict[str, _Feature], labels: list[int]) -> None:
        self.features = features
        self._labels = labels

    def __getitem__(self, column: str) -> list[int]:
        return self._labels


class _Image(_Feature):
    pass


class _ClassLabel(_Feature):
    pass


PICTURES = {"image": _Image(), "label": _ClassLabel("blue", "red")}


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (ConnectionError("no route to host"), "cannot be loaded: no route to host; check its name, the network"),
        ({"test": _Rows(PICTURES, [0])}, "no split 'train', only test; choose another"),
        ({"train": _Rows(PICTURES, [0, -1])}, "train images without labels; choose another"),
        ({"train": _Rows({"text": _Feature()}, [0])}, "the columns text; choose one with a column of type Image"),
    ],
)
def test_huggingface_data_sets_that_do_not_fit(splits: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str) -> Any:
        if isinstance(splits, Exception):
            raise splits
        return splits

    library = SimpleNamespace(Image=_Image, ClassLabel=_ClassLabel, load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", library)
    with pytest.raises(DataError, match=words):
        load_data("hf:somebody/pictures")


def test_held_out_images_have_to_fit_those_to_train_on(tmp_path: Path) -> None:
    write_mnist(tmp_path, train=200, test=5)
    with pytest.raises(DataError, match="holds out 5 images for 10 classes; give at least one a class"):
        load_data("mnist", tmp_path)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((5, 20, 20), np.uint8))
    with pytest.raises(DataError, match=r"\(1, 28, 28\) to train on but of \(1, 20, 20\) held out; check"):
        load_data("mnist", tmp_path)
