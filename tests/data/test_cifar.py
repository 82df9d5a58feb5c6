from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import RNG

from greennas.data import load_data
from greennas.errors import DataError


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
        ({"data_batch_2": python2_pickle({b"data": pixels, b"labels": 5})}, "no whole numbers"),
        ({"data_batch_2": pickle.dumps({"data": pixels, "labels": [10**30] * 40}, 2)}, "labels that are no classes"),
        ({"data_batch_2": pickle.dumps({"data": pixels, "labels": np.zeros((40, 2), int)}, 2)}, r"of shape \(40, 2\)"),
        ({"batches.meta": python2_pickle({b"label_names": 5})}, "holds no list of names under 'label_names'"),
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
