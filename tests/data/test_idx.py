from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import pixels_of, write_idx, write_mnist

from greennas.data import load_data
from greennas.errors import DataError


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_read_with_its_official_test_split(tmp_path: Path, suffix: str) -> None:
    arrays = write_mnist(tmp_path / "MNIST" / "raw", suffix=suffix)
    dataset = load_data("mnist", tmp_path)
    assert dataset.test is not None
    assert dataset.input_shape == (1, 28, 28)
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [160, 40, 50]
    assert {image.numpy().tobytes() for image in dataset.test.images} == {image.tobytes() for image in arrays["t10k"]}
    assert pixels_of(dataset) == {image.tobytes() for part in arrays.values() for image in part}


def test_labels_stay_with_their_images(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    labels = np.arange(200) % 10
    marked = np.repeat(labels, 784).reshape(200, 28, 28)  # each image is filled with its label
    write_idx(tmp_path / "train-images-idx3-ubyte", marked)
    dataset = load_data("mnist", tmp_path)
    for split in (dataset.train, dataset.validation):
        assert torch.equal(split.images[:, 0, 5, 5].long(), split.labels)


def test_fashion_mnist_names_its_package_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greennas.data.idx.DEBIAN_FASHION_MNIST", tmp_path / "none")
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        load_data("fashion-mnist")
    write_mnist(tmp_path / "none")
    assert load_data("fashion-mnist").class_names[0] == "T-shirt/top"


def test_idx_faults_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data-dir"):
        load_data("mnist")
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte .*" + str(tmp_path)):
        load_data("mnist", tmp_path)
    write_mnist(tmp_path)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    good_images, good_labels = images.read_bytes(), labels.read_bytes()
    faults = [
        (images, b"\x00\x00\x08\x01" + good_images[4:], "magic"),
        (images, good_images[:-100], "train-images-idx3-ubyte says shape"),
        (images, b"\x1f\x8b" + good_images, "cannot be read"),
        (images, b"", "not an IDX file"),
        (labels, struct.pack(">II", 0x801, 3) + b"abc", "200 images but 3 labels"),
        (labels, good_labels[:-1] + b"\x0b", "labels from 0 to 11"),
        (labels, struct.pack(">II", 0x801, 200) + bytes(200), "0 train images of class '1'"),
    ]
    for path, data, message in faults:
        path.write_bytes(data)
        with pytest.raises(DataError, match=message):
            load_data("mnist", tmp_path)
        images.write_bytes(good_images)
        labels.write_bytes(good_labels)
