"""Several runs beside each other: what compares, under which reference, and what the page says of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_studies import Page, StudyMaker
from typer.testing import CliRunner

from greennas.cli import app
from greennas.errors import RunError
from greennas.report.comparison import Comparison, Run
from greennas.report.comparison_page import caveats, headline, html
from greennas.report.words import NOTHING
from greennas.results import SearchResult

CPU = "a processor"


def result_of(*points: tuple[float, float], kind: str = "modelled", **settings: Any) -> SearchResult:
    made = StudyMaker(**settings)
    for accuracy, joules in points:
        made.add(accuracy=accuracy, train_energy_j=joules, kind=kind)
    return made.result()


def runs(*results: SearchResult, devices: tuple[str | None, ...] = ()) -> Comparison:
    places = devices or (CPU,) * len(results)
    return Comparison([Run(f"run {i}", *pair) for i, pair in enumerate(zip(results, places, strict=True))])


def test_hypervolumes_are_taken_with_one_box_over_all_runs() -> None:
    comparison = runs(result_of((0.9, 10.0), (0.99, 100.0)), result_of((0.95, 10.0)))
    low, high = np.log(10.0), np.log(100.0)
    worst = -0.9 + 0.1 * 0.09, high + 0.1 * (high - low)
    size = (worst[0] + 0.99) * (worst[1] - low)
    first = (worst[0] + 0.9) * (worst[1] - low) + 0.09 * (worst[1] - high)
    second = (worst[0] + 0.95) * (worst[1] - low)
    assert comparison.hypervolumes == pytest.approx([first / size, second / size])
    text = headline(comparison)
    assert text.startswith("<strong>run 1</strong> comes further than <strong>run 0</strong>")
    assert [(run.name, trial.metrics["accuracy"]) for run, trial in comparison.joint_front] == [
        ("run 0", 0.99),
        ("run 1", 0.95),
    ]
    assert "can be chance" in caveats(comparison)[-1]


def test_equal_runs_are_called_equal() -> None:
    same = runs(result_of((0.9, 10.0), (0.99, 100.0)), result_of((0.9, 10.0), (0.99, 100.0)))
    assert "reach the same hypervolume" in headline(same)
    joint = Page(html(same)).root.one(id="joint")
    assert [article.one("h3").text.partition(" of ")[2] for article in joint.all("article")] == ["run 0 and run 1"] * 2
    assert "2 networks that no network of any of these runs outdoes: 2 of 2 of run 0, 2 of 2 of run 1." in joint.text


@pytest.mark.parametrize(
    ("other", "devices", "said", "lost"),
    [
        (result_of((0.9, 20.0), kind="measured"), (CPU, CPU), "kind of training energy", ["train_energy_j"]),
        (result_of((0.9, 20.0)), (CPU, "a GPU"), "device (run 0: a processor; run 1: a GPU)", ["train_energy_j"]),
        (result_of((0.9, 20.0)), (CPU, None), "run 1: not recorded", ["train_energy_j"]),
        (result_of((0.9, 20.0), **{"training.epochs": 9}), (CPU, CPU), "; run 1: epochs 9)", []),
        (result_of((0.9, 20.0), space="nasbench101"), (CPU, CPU), "space", []),
    ],
)  # fmt: skip
def test_what_differs_is_said_and_what_does_not_compare_is_not_compared(
    other: SearchResult, devices: tuple[str, str], said: str, lost: list[str]
) -> None:
    comparison = runs(result_of((0.9, 10.0), (0.99, 100.0)), other, devices=devices)
    assert comparison.incomparable == lost
    assert any(said in text for text in caveats(comparison))
    page = Page(html(comparison))
    assert len(page.figures["fronts"]["data"]) >= 4  # each front is shown all the same
    if lost:
        assert comparison.hypervolumes == [None, None]
        assert comparison.joint_front == []
        assert "do not compare in training energy" in headline(comparison)
        assert "hypervolumes" not in page.figures
        assert page.root.all("article") == []
    else:
        assert None not in comparison.hypervolumes


def test_latencies_of_different_devices_are_not_compared() -> None:
    timed = result_of((0.9, 10.0), objectives=["accuracy", "latency_ms"])
    assert runs(timed, timed).incomparable == []
    other = runs(timed, timed, devices=(CPU, "another processor"))
    assert (other.incomparable, other.joint_front) == (["latency_ms"], [])
    assert any("their latency does not compare" in text for text in caveats(other))


def test_other_data_leave_nothing_to_compare() -> None:
    made = StudyMaker()
    made.study.set_user_attr("data", {**made.study.user_attrs["data"], "train": 99})
    made.add()
    comparison = runs(result_of((0.9, 10.0)), made.result())
    assert comparison.incomparable == ["accuracy", "train_energy_j"]
    row = next(r for r in Page(html(comparison)).table("The runs") if r["Of the run"].text.startswith("Data"))
    assert row["Of the run"].one(class_="mark").text == "differs"


def test_price_tags_stand_side_by_side_and_kinds_apart() -> None:
    page = Page(html(runs(result_of((0.9, 1000.0)), result_of((0.9, 2000.0), kind="measured"))))
    rows = {
        row["Spent on"].text: row for row in page.table("Energy of the searches, by what it was spent on and by kind")
    }
    assert rows["training, CPU modelled"]["run 0"].text == "1,000 J"
    assert rows["training, CPU modelled"]["run 1"].text.strip() == NOTHING
    assert rows["training, GPU measured"]["run 1"].text == "2,000 J"
    assert rows["All that is measured"]["run 0"].text.strip() == NOTHING


def test_runs_without_a_trained_network() -> None:
    comparison = runs(StudyMaker().result(), StudyMaker().result())
    assert "No run has trained a network" in headline(comparison)
    assert Page(html(comparison)).figures == {}
    half = runs(StudyMaker().result(), result_of((0.9, 10.0)))
    assert half.hypervolumes[0] is None or half.hypervolumes[0] == 0.0
    assert Page(html(half)).figures != {}


def test_other_objectives_and_single_runs_are_refused() -> None:
    with pytest.raises(RunError, match="different objectives"):
        runs(result_of((0.9, 10.0)), StudyMaker(objectives="accuracy,flops").result())
    with pytest.raises(RunError, match="2 to 6 different runs, not 1"):
        runs(result_of((0.9, 10.0)))


def folder(path: Path, device: str = CPU) -> Path:
    """A run folder with a finished study on disk."""
    import optuna

    from greennas.run import RunFolder

    made = StudyMaker()
    for accuracy, joules in ((0.9, 10.0), (0.99, 100.0)):
        made.add(accuracy=accuracy, train_energy_j=joules)
    run = RunFolder.create(path, made.config)
    facts = json.loads(run.environment_file.read_text())
    facts["devices"]["cpu"]["model"] = device
    run.environment_file.write_text(json.dumps(facts))
    study = run.start_study()
    for name, value in made.study.user_attrs.items():
        study.set_user_attr(name, value)
    study.add_trials(made.study.get_trials())
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return path


def test_the_command_compares_run_folders(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "a b"), folder(tmp_path / "c")
    run = CliRunner().invoke
    assert run(app, ["report", str(first)]).exit_code == 0
    done = run(app, ["report", str(first), str(second), "--out", str(tmp_path / "both.html")])
    assert done.exit_code == 0, done.output
    page = Page((tmp_path / "both.html").read_text(encoding="utf-8"))
    assert page.root.one("h1").text == "a b against c"
    links = [str(link.attributes["href"]) for link in page.root.all("a") if link.text == "report.html"]
    assert links == ["a%20b/report.html"]
    for arguments, words in (
        (["report", str(first), str(first)], "2 to 6 different runs"),
        (["report", str(first), str(tmp_path)], "not a run folder"),
        (["report", str(first), str(second), "--out", str(tmp_path)], "cannot be written"),
        (["report", str(first), "--out", "x.html"], "--out is for the comparison"),
    ):
        failed = run(app, arguments)
        assert failed.exit_code == 1  # main turns it into a sentence and exit code 2
        assert words in str(failed.exception)
