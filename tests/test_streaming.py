"""Folders of images that stay in their files: the same split, the same trainings, and little memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_folders import CLASSES, write_imagenet, write_jpegs
from PIL import Image
from torch import nn

import greennas
from greennas.data import Dataset, StreamedSplit, load_data
from greennas.data.dataset import SEARCH_FILE, TEST_FILE
from greennas.data.pictures import read_cropped, read_stretched, stretched
from greennas.errors import DataError
from greennas.evaluate import run_task
from greennas.export.folder import export_model
from greennas.measurement import EvaluationTask
from greennas.trainer import TrainingPlan, evaluate_accuracy, train
from greennas.training.loop import TrainingLoop, reproducible

PLAN = TrainingPlan(epochs=2, batch_size=12, learning_rate=0.1, augment=True, precision="float32")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 train and 30 validation images in ImageNet's layout."""
    return write_imagenet(tmp_path_factory.mktemp("pictures") / "imagenet")


def streamed(folder: Path, threads: int = 1, **settings: Any) -> Dataset:
    settings = {"resolution": 32, **settings}
    return load_data(f"folder:{folder}", memory_gb=0, decode_threads=threads, **settings)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


# What is in a folder


def test_imagenets_layout_gives_the_official_splits(imagenet: Path) -> None:
    dataset = streamed(imagenet)
    assert dataset.class_names == CLASSES
    assert dataset.test is not None
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [48, 30, 12]
    assert isinstance(dataset.train, StreamedSplit)
    assert isinstance(dataset.validation, StreamedSplit)
    assert isinstance(dataset.test, StreamedSplit)
    places = [{name.decode().split("/")[0] for name in s.names} for s in (dataset.train, dataset.validation)]
    assert places == [{"train"}, {"val"}]
    assert not set(dataset.train.names) & set(dataset.test.names)
    for split in (dataset.train, dataset.validation, dataset.test):
        colours = [CLASSES.index(name.decode().split("/")[1]) for name in split.names]
        assert colours == split.labels.tolist()
        assert torch.bincount(split.labels).tolist() == [len(split) // 3] * 3


def test_a_test_split_without_labels_is_left_out_and_other_classes_are_refused(tmp_path: Path) -> None:
    write_imagenet(tmp_path, each=12, size=20)
    (tmp_path / "test").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "test" / "secret.jpg")
    dataset = streamed(tmp_path)
    assert isinstance(dataset.test, StreamedSplit)
    assert {name.decode().split("/")[0] for name in dataset.test.names} == {"train"}
    write_jpegs(tmp_path / "test" / "sorted", 1, 20)
    for name in CLASSES:
        (tmp_path / "test" / "sorted" / name).rename(tmp_path / "test" / name)
    (tmp_path / "test" / "sorted").rmdir()
    dataset = streamed(tmp_path)
    assert isinstance(dataset.test, StreamedSplit)
    assert len(dataset.test) == 3
    assert len(dataset.train) == 36
    (tmp_path / "val" / "green").rename(tmp_path / "val" / "violet")
    with pytest.raises(DataError, match="differ in the class 'green'"):
        streamed(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_jpegs(tmp_path, 12, 20)
    (tmp_path / "red").rename(tmp_path / "train")
    assert load_data(f"folder:{tmp_path}").class_names == ("blue", "green", "train")


def test_small_folders_stay_in_memory_with_the_same_split(imagenet: Path) -> None:
    whole, large = load_data(f"folder:{imagenet}", resolution=32), streamed(imagenet)
    assert whole.test is not None
    assert large.test is not None
    for ours, theirs in ((whole.train, large.train), (whole.validation, large.validation), (whole.test, large.test)):
        assert not isinstance(ours, StreamedSplit)
        assert isinstance(theirs, StreamedSplit)
        assert torch.equal(ours.labels, theirs.labels)
        means = [split.images.float().mean((2, 3)) for split in (ours, theirs.in_memory())]
        assert (means[0] - means[1]).abs().max() < 30  # the same pictures, cropped less or more
    assert not whole.notes
    assert "streamed" in large.notes[0]
    decoded_gb = 90 * 3 * 32 * 32 / 1e9
    assert isinstance(load_data(f"folder:{imagenet}", memory_gb=0.99 * decoded_gb).train, StreamedSplit)
    assert not isinstance(load_data(f"folder:{imagenet}", memory_gb=1.01 * decoded_gb).train, StreamedSplit)


def test_a_subset_is_a_list_of_files(imagenet: Path) -> None:
    dataset = streamed(imagenet, train_images=30)
    assert len(dataset.train) == 30
    assert torch.bincount(dataset.train.labels).tolist() == [10, 10, 10]


def test_workers_get_names_and_those_of_the_test_split_only_for_the_test(imagenet: Path, tmp_path: Path) -> None:
    dataset = streamed(imagenet, threads=2)
    dataset.save(tmp_path)
    assert isinstance(dataset.test, StreamedSplit)
    searched, tested = (tmp_path / SEARCH_FILE).read_bytes(), (tmp_path / TEST_FILE).read_bytes()
    for name in dataset.test.names:
        assert name not in searched
        assert name in tested
    again = Dataset.load(tmp_path, test=True)
    for ours, theirs in ((dataset.train, again.train), (dataset.test, again.test)):
        assert isinstance(ours, StreamedSplit)
        assert isinstance(theirs, StreamedSplit)
        assert ours.names.tolist() == theirs.names.tolist()
        assert (ours.root, ours.resolution, ours.threads) == (theirs.root, theirs.resolution, theirs.threads)
    assert (again.mean, again.std, again.notes) == (dataset.mean, dataset.std, dataset.notes)
    assert Dataset.load(tmp_path).test is None


def test_smaller_images_are_decoded_smaller(imagenet: Path) -> None:
    whole, half = streamed(imagenet, resolution=64), streamed(imagenet)
    assert whole.train.resized(32).image_shape == (3, 32, 32)
    ours, expected = whole.train.resized(32).in_memory().images, half.train.in_memory().images
    assert torch.equal(ours, expected)
    averaged = whole.train.in_memory().resized(32).images
    assert (averaged.float() - expected.float()).abs().mean() < 2


# Decoding


def test_the_centre_is_that_of_resize_and_crop(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((900, 600), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "large.jpg", quality=95)
    ours = read_cropped(tmp_path / "large.jpg", 112).astype(int)  # decoded at half its size
    theirs = np.asarray(picture.resize((192, 128), Image.Resampling.BILINEAR).crop((40, 8, 152, 120))).astype(int)
    assert ours.shape == theirs.shape == (112, 112, 3)
    assert np.abs(ours - theirs).mean() < 2


def test_random_crops_lie_within_the_image_and_half_of_them_are_mirrored(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], (200, 1, 3))
    ramp[..., 1] = np.linspace(0, 255, 200).astype(np.uint8)[:, None]
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    rng = np.random.default_rng(0)
    widths, mirrored = [], 0
    for _ in range(200):
        crop = read_cropped(tmp_path / "ramp.png", 16, rng.random(5).tolist()).astype(int)
        across, down = crop[8, :, 0], crop[:, 8, 1]
        mirrored += across[0] > across[-1]
        assert down[0] < down[-1]  # never upside down
        widths.append((abs(across[0] - across[-1]) / 255) * (abs(down[0] - down[-1]) / 255))
    assert 70 < mirrored < 130
    assert min(widths) < 0.15
    assert max(widths) > 0.7


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("image.jpg" if mode in ("L", "CMYK") else "image.png")
    Image.new("RGB", (50, 40), (200, 200, 200)).convert(mode).save(file)
    assert np.abs(read_cropped(file, 8).astype(int) - 200).max() < 8


GREYS = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)


def twelve_bits() -> bytes:
    """A TIFF of 12 bits, two pixels in three bytes; Pillow reads it but writes none."""
    values = (GREYS >> 4).reshape(-1, 2)
    left, right = values[:, 0], values[:, 1]
    pixels = np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], axis=1).astype(np.uint8).tobytes()
    tags = {256: 64, 257: 64, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 64, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag == 273 else 3, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + pixels


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("16.png", None),
        ("16.tif", None),
        ("16.pgm", b"P5 64 64 65535\n" + GREYS.astype(">u2").tobytes()),
        ("12.pgm", b"P5 64 64 4095\n" + (GREYS >> 4).astype(">u2").tobytes()),
        ("12.tif", twelve_bits()),
    ],
)
def test_deep_greys_are_scaled_and_not_cut_off(tmp_path: Path, file: str, data: bytes | None) -> None:
    path = tmp_path / file
    path.write_bytes(data) if data is not None else Image.fromarray(GREYS).save(path)
    whole = read_stretched(path, 64)
    assert np.abs(whole - GREYS / 257).max() <= 1
    assert len(np.unique(read_cropped(path, 64))) > 200


def test_greys_of_unknown_range_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.tif"
    for pixels, words in (
        (
            (GREYS / 65535).astype(np.float32),
            "floating-point pixels, whose range is unknown; save it with 8 or 16 bits",
        ),
        (GREYS.astype(np.int32) * 2, "values from 0 to 131070; save it with 8 or 16 bits"),
    ):
        Image.fromarray(pixels).save(file)
        for read in (read_stretched, read_cropped):
            with pytest.raises(DataError, match=rf"deep\.tif has {words}"):
                read(file, 8)
        with pytest.raises(DataError, match=f"^An image has {words}"):
            stretched(Image.fromarray(pixels), 8)


# Trainings


def trained(dataset: Dataset, plan: TrainingPlan = PLAN) -> tuple[Any, ...]:
    result = train(network(), dataset, plan)
    return result.accuracy, result.loss, *(value.sum().item() for value in result.state_dict.values())


def test_a_training_is_the_same_with_any_number_of_threads(imagenet: Path) -> None:
    alone = trained(streamed(imagenet, threads=0))
    assert trained(streamed(imagenet, threads=2)) == alone
    assert trained(streamed(imagenet, threads=5)) == alone
    assert trained(streamed(imagenet), replace(PLAN, seed=1)) != alone
    assert trained(streamed(imagenet), replace(PLAN, augment=False)) != alone


def test_it_learns(imagenet: Path) -> None:
    dataset = streamed(imagenet, threads=2)
    module = network()
    result = train(module, dataset, replace(PLAN, epochs=15))
    assert result.accuracy > 0.9
    assert evaluate_accuracy(module, dataset.validation, dataset)[0] == result.accuracy
    assert dataset.test is not None
    assert evaluate_accuracy(module, dataset.test, dataset)[0] > 0.9


def test_a_training_goes_on_bit_by_bit_from_its_state(imagenet: Path) -> None:
    dataset = streamed(imagenet, threads=2)
    with reproducible(CPU, 0):
        whole = TrainingLoop(network(), dataset, PLAN, CPU)
        whole.advance_to(1)
        state = whole.state()
        whole.advance_to(2)
        resumed = TrainingLoop(network(1), dataset, PLAN, CPU)
        resumed.restore(state)
        resumed.advance_to(2)
    assert resumed.evaluate(2).loss == whole.evaluate(2).loss


def test_a_file_that_is_gone_or_broken_is_named(imagenet: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_jpegs(folder, 20, 20)
    streamed(folder).save(tmp_path / "data")
    broken = folder / "red" / "0003.jpg"
    for spoil in (lambda: broken.write_bytes(broken.read_bytes()[:150]), broken.unlink):
        spoil()
        task = EvaluationTask("train", "resnet", str(tmp_path / "data"), plan=PLAN, options={"width": 4})
        space = greennas.load_space("resnet", width=4)
        params = space.sample(greennas_trial())
        measurement = run_task(replace(task, params=params))
        assert not measurement.ok
        assert str(broken) in measurement.reason
        assert measurement.all_readings


def greennas_trial() -> Any:
    from greennas.sampler.candidates import ReplayTrial

    return ReplayTrial(np.random.default_rng(0))


MEMORY = """
import json, sys
import torch
from greennas.data import load_data
from greennas.trainer import TrainingPlan, train
from torch import nn

def peak_bytes():
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

def training(**options):
    dataset = load_data(sys.argv[1], resolution=224, decode_threads=2, **options)
    pooled = nn.Sequential(nn.Conv2d(3, 4, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    train(nn.Sequential(pooled, nn.Flatten(), nn.Linear(4, 3)), dataset, plan)
    return 3 * 224**2 * (len(dataset.train) + len(dataset.validation) + len(dataset.test))

torch.set_num_threads(1)
budget_gb = float(sys.argv[2])
plan = TrainingPlan(epochs=1, batch_size=16, augment=True, precision="float32")
training(memory_gb=budget_gb / 2, train_images=200, validation_images=100)  # what a training takes beside its images
begun = peak_bytes()
decoded = training(memory_gb=budget_gb)
streamed = peak_bytes()
load_data(sys.argv[1], resolution=224, memory_gb=1)
print(json.dumps([decoded, streamed - begun, peak_bytes() - streamed]))
"""


def test_a_streamed_folder_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    write_jpegs(tmp_path, 640, 120)
    budget_gb = 0.07
    command = [sys.executable, "-c", MEMORY, f"folder:{tmp_path}", str(budget_gb)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    decoded, streamed_bytes, loaded_bytes = json.loads(done.stdout)
    assert decoded > 4 * budget_gb * 1e9
    assert streamed_bytes < budget_gb * 1e9
    assert loaded_bytes > 0.9 * decoded - streamed_bytes  # the measurement shows what is in memory


# Searches


def searched(folder: Path, out: Path, resolution: int) -> greennas.SearchResult:
    settings: dict[str, Any] = {
        "data.resolution": resolution,
        "data.memory_gb": 0,
        "training": {"epochs": 1, "batch_size": 16, "augment": True},
        "space_options": {"width": 16},
        "energy": {"confirm": 0},
        "screen": {"initial": 1, "pool": 8},
    }
    return greennas.search("resnet", f"folder:{folder}", trials=2, out=out, workers=1, **settings)


def test_a_search_streams_and_its_network_is_exported(imagenet: Path, tmp_path: Path) -> None:
    result = searched(imagenet, tmp_path / "run", 64)
    assert [trial.state for trial in result.trials] == ["COMPLETE"] * 2
    assert result.front
    assert all(trial.test for trial in result.front)
    assert result.data["input_shape"] == [3, 64, 64]
    assert "streamed" in result.data["notes"][0]
    exported = export_model(tmp_path / "run", tmp_path / "model", formats=["pytorch"])
    (check,) = exported.checks
    assert check.same
    assert check.images == 12


@pytest.mark.long
def test_a_search_at_224_pixels(imagenet: Path, tmp_path: Path) -> None:
    result = searched(imagenet, tmp_path / "run", 224)
    assert [trial.state for trial in result.trials] == ["COMPLETE"] * 2
    assert all(trial.test for trial in result.front)
