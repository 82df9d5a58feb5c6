"""Pages whose examples are searches, made smaller: fewer and shorter trainings."""

from __future__ import annotations

import pytest
from pages import EC_NAS, FASHION_MNIST, Page, needs_ec_nas, needs_fashion_mnist
from picture_folders import write_noise


@needs_fashion_mnist
def test_README(page: Page) -> None:
    page.run(
        ("--trials 20", "--trials 2 --set training.epochs=1"),
        ("=10000", "=500"),
        ("=5000", "=500"),
        ("trials=8", "trials=2"),
    )


def test_quickstart(page: Page) -> None:
    page.run(("--trials 6", "--trials 3"), ("--trials 8", "--trials 4"), ("trials=6", "trials=2"))


def test_configuration(page: Page) -> None:
    page.run(
        ("{name: cifar10, dir: /data/cifar10, train_images: 10000}", "{name: digits, train_images: 300}"),
        ("width: 16", "width: 4"),
        ("--trials 40", "--trials 2"),
        ("{epochs: 8, rungs: [2, 4]}", "{epochs: 2, rungs: [1]}"),
    )


def test_data(page: Page) -> None:
    write_noise(page.folder / "pictures")
    page.run(
        ("data.resolution=64", "data.resolution=16 --trials 2 --set training.epochs=1 --set space_options.width=8")
    )


@needs_fashion_mnist
def test_training(page: Page) -> None:
    few = "--train-images 200 --validation-images 200 --epochs 1 --seeds 1 --networks nasbench201 --recipes constant"
    page.run(("python benchmarks/training.py", f"python benchmarks/training.py {few}"), ("--trials 4", "--trials 2"))


def test_rungs(page: Page) -> None:
    page.run(but="Which rungs pay for themselves")


@pytest.mark.long
@needs_fashion_mnist
@needs_ec_nas
def test_rungs__which_pay(page: Page) -> None:
    """All trainings of the study are recorded beside it."""
    page.run(
        ("--data-dir DIR", f"--data-dir {FASHION_MNIST}"),
        ("--ec-nas DIR", f"--ec-nas {EC_NAS} --seeds 1 --green-seeds 1"),
        only="Which rungs pay for themselves",
    )
