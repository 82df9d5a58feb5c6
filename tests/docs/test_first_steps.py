"""The pages that one begins with, and those on what a search leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pages import FASHION_MNIST, Page

from greennas.pick import pick
from greennas.results import SearchResult
from greennas.run import RunFolder


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
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


def test_export(page: Page, run: Path) -> None:
    """`runs/example` is a small run, whose front may be one network: another one learns from a teacher."""
    shutil.copytree(run, page.folder / "runs" / "example")
    folder = RunFolder.open(run)
    result = SearchResult(folder.config, folder.read_study(), run)
    picked = [pick(result, each).architecture_id for each in ("most-accurate", "knee")]
    other = next(each.architecture_id for each in result.completed if each.architecture_id not in picked)
    page.run(("--pick least-energy", f"--pick {other}"))
    assert (page.folder / "trained-model" / "model.pt2").is_file()
    assert (page.folder / "copy" / "model.safetensors").is_file()


@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="there is no Chromium to take pictures with"
)
def test_report(page: Page) -> None:
    pytest.importorskip("playwright.sync_api")
    page.run(
        ("fashion-mnist --trials 20 --workers 2", "digits --trials 2 --set training.epochs=1"),
        ("=10000", "=300"),
        ("=5000", "=200"),
        ("--trials 16", "--trials 2 --set training.epochs=1"),
    )
    assert (page.folder / "comparison.html").is_file()
