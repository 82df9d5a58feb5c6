"""The pages with measurements, whose commands take minutes to hours as they stand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ec_nas_files import write_runs, write_tree
from pages import EC_NAS, FASHION_MNIST, Page

WINDOWS = " --window 0.05 --repeats 2 --max-repeats 2"


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_training(page: Page) -> None:
    few = "--train-images 200 --validation-images 200 --epochs 1 --seeds 1 --networks nasbench201 --schedules constant"
    page.run(("python benchmarks/training.py", f"python benchmarks/training.py {few}"), ("--trials 4", "--trials 2"))


def test_rungs(page: Page) -> None:
    page.run(but="Which rungs pay for themselves")


@pytest.mark.long
def test_rungs__which_pay(page: Page) -> None:
    """All trainings of the study are recorded beside it."""
    page.run(
        ("--data-dir DIR", f"--data-dir {FASHION_MNIST}"),
        ("--ec-nas DIR", f"--ec-nas {EC_NAS} --seeds 1 --green-seeds 1"),
        only="Which rungs pay for themselves",
    )


def test_reproduce(page: Page, run: Path) -> None:
    write_tree(page.folder / "EC-NAS-Bench")
    write_runs(page.folder / "EC-NAS-Bench")
    for name in ("first", "second"):
        shutil.copytree(run, page.folder / "runs" / name)
    page.run()


def test_inference(page: Page, run: Path) -> None:
    shutil.copytree(run, page.folder / "runs" / "first")
    page.execute("bash", "greennas export runs/first --to exported --format pytorch")
    settings = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    for layers, name in enumerate("ab", start=1):
        config = {**settings, "num_hidden_layers": layers, "vocab_size": 64}
        (page.folder / f"{name}.json").write_text(json.dumps(config))
    page.run(
        ("--plot bench.html", f"--runtime eager,onnxruntime --plot bench.html{WINDOWS}"),
        ("models/a --model models/b", "a.json --model b.json"),  # with random weights
        ("--batch-size 1,8", f"--batch-size 1,8 --prompt-tokens 8 --output-tokens 4{WINDOWS}"),
        but="What each strategy saved here",
    )


@pytest.mark.long
def test_inference__what_each_strategy_saved(page: Page) -> None:
    page.run(("run.py", "run.py --quick"), only="What each strategy saved here")
