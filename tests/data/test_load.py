"""Data sets: every format is read as published, every fault is one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from data_files import write_mnist

from greennas.data import Dataset, load_data
from greennas.data.dataset import SEARCH_FILE
from greennas.errors import DataError
from greennas.tensorfile import read_tensors, write_tensors

# Splits


def test_digits_are_split_once_stratified_and_without_overlap() -> None:
    first, second = load_data("digits"), load_data("digits")
    assert first.test is not None
    assert second.test is not None
    assert first.input_shape == (1, 8, 8)
    assert first.train.images.dtype == torch.uint8
    assert first.train.images.max() == 255
    assert first.train.labels.dtype == torch.int64
    assert [len(first.train), len(first.validation), len(first.test)] == [1079, 359, 359]
    for split in (first.train, first.validation, first.test):
        counts = torch.bincount(split.labels, minlength=10) / len(split)
        assert counts.min() > 0.09
        assert counts.max() < 0.11
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.labels, second.test.labels)
    as_bytes = [{i.numpy().tobytes() for i in s.images} for s in (first.train, first.validation, first.test)]
    assert not as_bytes[0] & as_bytes[1]
    assert not as_bytes[0] & as_bytes[2]
    assert not as_bytes[1] & as_bytes[2]


def test_mean_and_std_are_those_of_the_train_split() -> None:
    dataset = load_data("digits", train_images=300)
    values = dataset.train.images.double() / 255
    assert dataset.mean == pytest.approx((values.mean().item(),))
    assert dataset.std == pytest.approx((values.std(correction=0).item(),))


def test_a_prefix_of_a_split_is_a_fair_sample() -> None:
    data = load_data("digits")
    assert data.test is not None
    for split in (data.train, data.validation, data.test):
        counts = torch.bincount(split.first(100).labels, minlength=10)
        assert counts.min() >= 3
        assert counts.max() <= 22


def test_a_subsets_prefix_is_a_fair_sample_too(tmp_path: Path) -> None:
    write_mnist(tmp_path, train=2000)
    data = load_data("mnist", tmp_path, train_images=400)
    assert torch.bincount(data.train.first(100).labels, minlength=10).min() >= 3


def test_train_images_takes_a_fixed_stratified_subset_and_says_so() -> None:
    whole, subset = load_data("digits"), load_data("digits", train_images=200, validation_images=100)
    assert len(subset.train) == 200
    assert len(subset.validation) == 100
    assert torch.bincount(subset.train.labels).min() >= 19
    assert any("200 of 1,079" in note for note in subset.notes)
    known = {image.numpy().tobytes() for image in whole.train.images}
    assert {image.numpy().tobytes() for image in subset.train.images} <= known
    assert torch.equal(subset.train.images, load_data("digits", train_images=200).train.images)


@pytest.mark.parametrize("count", [50, 5000])
def test_impossible_subset_is_refused(count: int) -> None:
    with pytest.raises(DataError, match=r"choose from 100 .* to 1,079"):
        load_data("digits", train_images=count)


def test_a_split_too_small_for_any_subset_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    with pytest.raises(DataError, match=r"has 40 images, too few for a subset of 100 .*leave validation_images out"):
        load_data("mnist", tmp_path, validation_images=30)


def test_resolution_resizes() -> None:
    assert load_data("digits", resolution=16).input_shape == (1, 16, 16)
    with pytest.raises(DataError, match="out of range"):
        load_data("digits", resolution=2)


def test_unknown_name_and_folder() -> None:
    with pytest.raises(DataError, match=r"no data set 'imagenot'.*digits"):
        load_data("imagenot")
    with pytest.raises(DataError, match="/nowhere"):
        load_data("mnist", "/nowhere")


# Save and load


def test_save_and_load_keep_everything_and_the_test_split_apart(tmp_path: Path) -> None:
    dataset = load_data("digits", train_images=200)
    dataset.save(tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["search.safetensors", "test.safetensors"]
    loaded = Dataset.load(tmp_path / "data")
    assert loaded.test is None
    fields = ("name", "num_classes", "class_names", "mean", "std", "notes", "input_shape")
    assert [getattr(loaded, name) for name in fields] == [getattr(dataset, name) for name in fields]
    assert torch.equal(loaded.validation.images, dataset.validation.images)
    tested = Dataset.load(tmp_path / "data", test=True)
    assert tested.test is not None
    assert dataset.test is not None
    assert torch.equal(tested.test.images, dataset.test.images)
    (tmp_path / "data" / "test.safetensors").unlink()
    assert len(Dataset.load(tmp_path / "data").train) == 200


def test_damaged_missing_and_mixed_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        Dataset.load(tmp_path)
    dataset = load_data("digits")
    dataset.save(tmp_path)
    load_data("digits", train_images=200).save(tmp_path / "other")
    (tmp_path / "test.safetensors").write_bytes((tmp_path / "other" / "test.safetensors").read_bytes())
    with pytest.raises(DataError, match="different data sets"):
        Dataset.load(tmp_path, test=True)
    data = (tmp_path / "search.safetensors").read_bytes()
    (tmp_path / "search.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="not a whole safetensors"):
        Dataset.load(tmp_path)


def test_data_sets_that_cannot_be_kept_or_lack_something(tmp_path: Path, digits: Dataset) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=r"cannot be written to .*; choose another folder"):
        digits.save(tmp_path / "file" / "data")
    assert (tmp_path / "file").read_text() == "mine"
    digits.save(tmp_path / "data")
    file = tmp_path / "data" / SEARCH_FILE
    tensors, metadata = read_tensors(file)
    for changed, words in (
        ({name: text for name, text in metadata.items() if name != "mean"}, "lacks 'mean'; prepare the data again"),
        (metadata | {"format": "greennas-data-0"}, "of this version of GreenNAS; prepare the data again"),
    ):
        write_tensors(file, tensors, changed)
        with pytest.raises(DataError, match=words):
            Dataset.load(tmp_path / "data")
