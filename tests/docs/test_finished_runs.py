"""Pages whose examples begin with the folder of a finished search."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ec_nas_files import write_runs, write_tree
from pages import Page, needs_fashion_mnist

from greennas.pick import pick
from greennas.results import SearchResult
from greennas.run import RunFolder

WINDOWS = " --window 0.05 --repeats 2 --max-repeats 2"


def copy(run: Path, page: Page, *names: str) -> None:
    """Put the folder of a run where the page expects one."""
    for name in names:
        shutil.copytree(run, page.folder / "runs" / name)


def test_export(page: Page, run: Path) -> None:
    """`runs/example` is a small run, whose front may be one network: another one learns from a teacher."""
    copy(run, page, "example")
    folder = RunFolder.open(run)
    result = SearchResult(folder.config, folder.read_study(), run)
    picked = [pick(result, each).architecture_id for each in ("most-accurate", "knee")]
    other = next(each.architecture_id for each in result.completed if each.architecture_id not in picked)
    page.run(("--pick least-energy", f"--pick {other}"))
    assert (page.folder / "trained-model" / "model.pt2").is_file()
    assert (page.folder / "copy" / "model.safetensors").is_file()


def test_report(page: Page, run: Path) -> None:
    copy(run, page, "fashion", "green", "random")
    page.run(but="The pictures")
    assert (page.folder / "comparison.html").is_file()


@pytest.mark.long
@needs_fashion_mnist
@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="there is no Chromium to take pictures with"
)
def test_report__pictures(page: Page) -> None:
    page.run(
        ("fashion-mnist --trials 20", "fashion-mnist --trials 2 --set training.epochs=1"),
        ("=10000", "=500"),
        ("=5000", "=500"),
        ("--trials 16", "--trials 2 --set training.epochs=1"),
        only="The pictures",
    )


def test_reproduce(page: Page, run: Path) -> None:
    write_tree(page.folder / "EC-NAS-Bench")
    write_runs(page.folder / "EC-NAS-Bench")
    copy(run, page, "first", "second")
    page.run()


def test_inference(page: Page, run: Path) -> None:
    copy(run, page, "first")
    page.execute("bash", "greennas export runs/first --to exported --format pytorch")
    settings = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    for layers, name in enumerate("ab", start=1):
        file = page.folder / "models" / name / "config.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({**settings, "num_hidden_layers": layers, "vocab_size": 64}))
    page.run(
        ("--plot bench.html", f"--runtime eager,onnxruntime --plot bench.html{WINDOWS}"),
        ("models/a --model models/b", "models/a/config.json --model models/b/config.json"),  # with random weights
        ("--batch-size 1,8", f"--batch-size 1,8 --prompt-tokens 8 --output-tokens 4{WINDOWS}"),
        but="What each strategy saved here",
    )


@pytest.mark.long
def test_inference__what_each_strategy_saved(page: Page) -> None:
    page.run(("run.py", "run.py --quick"), only="What each strategy saved here")
