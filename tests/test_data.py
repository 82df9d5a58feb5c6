"""Data sets: every format is read as published, every fault is one clear sentence."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from greennas.data import Dataset, load_data
from greennas.data.dataset import SEARCH_FILE
from greennas.errors import DataError
from greennas.tensorfile import read_tensors, write_tensors

RNG = np.random.default_rng(0)


# Writers of the published formats


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder: Path, train: int = 200, test: int = 50, suffix: str = "") -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for prefix, count in (("train", train), ("t10k", test)):
        arrays[prefix] = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", arrays[prefix])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(count) % 10)
    return arrays


def python2_pickle(value: Any) -> bytes:
    """Protocol 2 as Python 2 wrote it: str is a byte string, arrays name numpy.core.multiarray."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"K" + bytes([value])
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(key) + _python2(item) for key, item in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    shape = b"".join(b"J" + struct.pack("<i", size) for size in value.shape) + b"\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87Rq\x01"
    return made + b"(K\x01" + shape + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"


def cifar_rows(count: int, classes: int) -> tuple[np.ndarray, list[int]]:
    return RNG.integers(0, 256, (count, 3072), dtype=np.uint8), [i % classes for i in range(count)]


def cifar10_python(rows: int = 40) -> dict[str, bytes]:
    files = {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels, labels = cifar_rows(rows, 10)
        files[name] = python2_pickle({b"batch_label": b"x", b"labels": labels, b"data": pixels})
    names = [b"plane", b"car", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]
    files["batches.meta"] = python2_pickle({b"num_cases_per_batch": rows, b"label_names": names})
    return files


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_archive(path: Path, folder: str, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def pixels_of(dataset: Dataset) -> set[bytes]:
    assert dataset.test is not None
    splits = (dataset.train, dataset.validation, dataset.test)
    return {image.numpy().tobytes() for split in splits for image in split.images}


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


# IDX


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


# CIFAR


@pytest.mark.parametrize("place", ["folder", "parent", "archive", "archive itself"])
def test_cifar10_python_version_is_read_from_folder_and_archive(tmp_path: Path, place: str) -> None:
    files = cifar10_python()
    folder, archive = "cifar-10-batches-py", tmp_path / "cifar-10-python.tar.gz"
    if place.startswith("archive"):
        write_archive(archive, folder, files)
    else:
        write_files(tmp_path / folder, files)
    where = {"folder": tmp_path / folder, "parent": tmp_path, "archive": tmp_path, "archive itself": archive}[place]
    dataset = load_data("cifar10", where)
    assert dataset.test is not None
    assert dataset.input_shape == (3, 32, 32)
    assert dataset.class_names[:2] == ("plane", "car")
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [160, 40, 40]


def test_both_versions_of_cifar10_give_the_same_data_set(tmp_path: Path) -> None:
    python, binary = {}, {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels, labels = cifar_rows(30, 10)
        python[name] = python2_pickle({b"data": pixels, b"labels": labels})
        rows = np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)
        binary[f"{name}.bin"] = rows.tobytes()
    first = load_data("cifar10", write_files(tmp_path / "python", python))
    second = load_data("cifar10", write_files(tmp_path / "binary", binary))
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.validation.labels, second.validation.labels)


def test_cifar100_reads_fine_labels_of_both_versions(tmp_path: Path) -> None:
    python, binary = {}, {}
    for name, count in (("train", 1000), ("test", 100)):
        pixels, fine = cifar_rows(count, 100)
        coarse = [label // 5 for label in fine]
        python[name] = python2_pickle({b"fine_labels": fine, b"coarse_labels": coarse, b"data": pixels})
        labels = np.array([coarse, fine], np.uint8).T
        binary[f"{name}.bin"] = np.concatenate([labels, pixels], axis=1).tobytes()
    write_archive(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", python)
    binary["fine_label_names.txt"] = "\n".join(f"thing_{i}" for i in range(100)).encode()
    second = load_data("cifar100", write_files(tmp_path / "cifar-100-binary-other", binary))
    first = load_data("cifar100", tmp_path)
    assert first.num_classes == 100
    assert second.class_names[99] == "thing_99"
    assert torch.equal(first.train.labels, second.train.labels)
    assert torch.equal(first.train.images, second.train.images)


def test_pickles_that_python_3_wrote_at_protocol_2_are_read(tmp_path: Path) -> None:
    files = {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels, labels = cifar_rows(40, 10)
        files[name] = pickle.dumps({"data": pixels, "labels": labels}, protocol=2)
    assert len(load_data("cifar10", write_files(tmp_path, files)).train) == 160


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "victim"
    files = cifar10_python()
    files["data_batch_3"] = pickle.dumps({"data": Malice(victim), "labels": [0]}, protocol=protocol)
    with pytest.raises(DataError, match="data_batch_3 is refused"):
        load_data("cifar10", write_files(tmp_path / "data", files))
    assert not victim.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cbuiltins\neval\nU\x041+1\x00\x85R.",
        b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.",  # an array of objects
        b"cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\nK\x00\x85U\x01b\x87R.",
        b"cnumpy\ndtype\n(U\x02u1i__main__\nX\n.",
        b"}U\x01aK\x01b.",  # a state for a dictionary
        b"}U\x01a\x85b.",  # the same, in the form of an array's
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01?NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
    ],
)
def test_pickles_with_anything_but_data_are_refused(tmp_path: Path, data: bytes) -> None:
    files = cifar10_python() | {"data_batch_1": b"\x80\x02" + data}
    with pytest.raises(DataError, match="data_batch_1 is refused"):
        load_data("cifar10", write_files(tmp_path, files))


def test_cifar_faults_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz"):
        load_data("cifar10")
    with pytest.raises(DataError, match="no cifar10 in"):
        load_data("cifar10", tmp_path)
    good = cifar10_python()
    pixels, labels = cifar_rows(40, 10)
    faults: list[tuple[dict[str, bytes], str]] = [
        ({"data_batch_2": good["data_batch_2"][:5000]}, "data_batch_2 is not a whole pickle"),
        ({"data_batch_2": python2_pickle({b"data": pixels, b"labels": labels[:-1]})}, "40 images but 39 labels"),
        ({"data_batch_2": python2_pickle({b"data": pixels})}, "has no 'data' and 'labels'"),
        ({"data_batch_2": python2_pickle({b"data": pixels[:, :100], b"labels": labels})}, r"no \(N, 3072\) array"),
        ({"data_batch_2": python2_pickle({b"data": pixels, b"labels": [*labels[:-1], 10]})}, "labels from 0 to 10"),
        ({"data_batch_2": python2_pickle({b"data": pixels, b"labels": [*labels[:-1], b"cat"]})}, "no whole numbers"),
        ({"data_batch_2": python2_pickle([1])}, "holds a list"),
    ]
    for i, (change, message) in enumerate(faults):
        with pytest.raises(DataError, match=message):
            load_data("cifar10", write_files(tmp_path / str(i), good | change))
    del good["data_batch_5"]
    with pytest.raises(DataError, match="lacks data_batch_5"):
        load_data("cifar10", write_files(tmp_path / "part", good))
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a whole"):
        load_data("cifar10", archive)
    binary = {f"data_batch_{i}.bin": bytes(3073 * 2 - 1) for i in range(1, 6)} | {"test_batch.bin": bytes(3073)}
    with pytest.raises(DataError, match=r"data_batch_1\.bin has 6,145 bytes"):
        load_data("cifar10", write_files(tmp_path / "binary", binary))


# Folders of images


def write_pictures(folder: Path, classes: dict[str, int]) -> None:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            color = (255, i, 0) if name == "red" else (0, i, 255)
            Image.new("RGB", (20 + i, 30), color).save(folder / name / f"{i:03}.png")


def test_folder_of_images(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"red": 20, "blue": 20})
    (tmp_path / "red" / "notes.txt").write_text("no image")
    dataset = load_data(f"folder:{tmp_path}")
    assert dataset.test is not None
    assert dataset.class_names == ("blue", "red")
    assert dataset.input_shape == (3, 32, 32)
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [24, 8, 8]
    reds = dataset.train.images[dataset.train.labels == 1]
    assert (reds[:, 0] == 255).all()
    assert (reds[:, 2] == 0).all()
    assert load_data(f"folder:{tmp_path}", resolution=16).input_shape == (3, 16, 16)


def test_folder_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no folder"):
        load_data(f"folder:{tmp_path / 'none'}")
    with pytest.raises(DataError, match="no subfolders with images"):
        load_data(f"folder:{tmp_path}")
    write_pictures(tmp_path, {"red": 20})
    with pytest.raises(DataError, match="one class only"):
        load_data(f"folder:{tmp_path}")
    write_pictures(tmp_path, {"blue": 9})
    with pytest.raises(DataError, match="9 train images of class 'blue'"):
        load_data(f"folder:{tmp_path}")
    (tmp_path / "blue" / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match=r"broken\.png is not an image"):
        load_data(f"folder:{tmp_path}")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"greennas\[images\]"):
        load_data(f"folder:{tmp_path}")


# Hugging Face


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
