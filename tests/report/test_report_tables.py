from __future__ import annotations

import re
from pathlib import Path

from optuna.trial import TrialState
from report_studies import BILL, CONFIRMED, FRONT, TRIALS, Page, StudyMaker, page_of, whole_search

from greennas.report import html


def test_front_table_has_every_metric_with_its_kind_and_the_checkpoints(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    rows = Page(html(result)).table(FRONT)
    assert [row["Architecture"].one("code").text for row in rows] == [trial.architecture_id for trial in result.front]
    for row, trial in zip(rows, result.front, strict=True):
        assert row["Validation accuracy"].text == f"{100 * (trial.metrics['accuracy'] or 0):.2f}%"
        assert row["Test accuracy"].text == f"{100 * trial.test['accuracy']:.2f}%"
        for name in ("Training energy", "Inference energy of 1,000 images"):
            assert re.fullmatch(r"[\d.,]+ J modelled", row[name].text)
        assert row["Latency"].text.endswith(" ms")
        assert row["FLOPs"].text.endswith(" M")
    links = [row["Checkpoint"].all("a") for row in rows]
    assert links[0] == []
    assert all((tmp_path / str(link[0].attributes["href"])).is_file() for link in links[1:])
    assert [bool(row["Architecture"].all(class_="mark")) for row in rows] == [t is result.knee for t in result.front]


def three_on_the_front() -> StudyMaker:
    made = StudyMaker()
    for accuracy, joules in ((0.99, 100.0), (0.98, 95.0), (0.90, 20.0)):
        made.add(accuracy=accuracy, train_energy_j=joules)
    return made


def test_energies_that_overlap_are_the_same_within_noise() -> None:
    made = three_on_the_front()
    assert CONFIRMED not in page_of(made).root.text
    made.confirm_front((101.0, 96.0, 106.0), (97.0, 93.0, 101.0), (21.0, 20.0, 22.0))
    page = page_of(made)
    rows = page.table(CONFIRMED)
    assert [row["Same within noise"].text for row in rows] == ["b", "b", "a"]
    assert rows[0]["Measured again"].text == "101 J modelled"
    assert rows[0]["95% interval"].text == "96 J to 106 J"
    first, second, _ = (trial.architecture_id for trial in made.result().front)
    assert f"not ranked by it: {first} and {second}." in page.root.text
    assert f"Measured again, {second} uses the same training energy within noise as {first}" in page.root.text


def test_energies_that_do_not_overlap_are_ranked() -> None:
    made = three_on_the_front()
    made.confirm_front((101.0, 100.0, 102.0), (97.0, 96.0, 98.0), (21.0, 20.0, 22.0))
    page = page_of(made)
    assert [row["Same within noise"].text for row in page.table(CONFIRMED)] == ["c", "b", "a"]
    assert "here no two do" in page.root.text
    assert "do not rank them" not in page.root.text


def test_energies_that_could_not_be_measured_again_have_no_rank() -> None:
    made = three_on_the_front()
    made.confirm_front((101.0, 100.0, 102.0), None, None, kind="unavailable")
    assert [row["Measured again"].text.strip() for row in page_of(made).table(CONFIRMED)][1:] == ["unavailable"] * 2
    assert set(made.result().energy_groups) == {made.result().front[0].number}


def test_all_trials_say_what_came_of_them() -> None:
    made = StudyMaker()
    made.add()
    made.add(TrialState.PRUNED)
    made.add(TrialState.FAIL, failure="out of memory")
    made.add(TrialState.FAIL, interrupted=True)
    made.add(TrialState.RUNNING)
    made.add(TrialState.WAITING)
    made.add(latency_ms=None, train_energy_j=None)
    rows = {row["Trial"].text: row for row in page_of(made).table(TRIALS)}
    outcomes = {number: row["Outcome"].text for number, row in rows.items()}
    assert outcomes == {
        "0": "trained, on the front",
        "1": "stopped after 1 epoch",
        "2": "failed: out of memory",
        "3": "interrupted; queued again",
        "4": "running",
        "5": "waiting",
        "6": "trained, but without training energy: not on the front",
    }
    assert rows["6"]["Training energy"].text.strip() == "unavailable"
    assert rows["0"]["Chosen because"].text == "largest expected gain in hypervolume per joule"


def test_energies_of_tables_never_stand_without_a_kind(tmp_path: Path) -> None:
    page = Page(html(whole_search(StudyMaker(), tmp_path)))
    cells = 0
    for caption in (FRONT, TRIALS, BILL):
        for row in page.table(caption):
            for name, cell in row.items():
                if re.search(r"\d (mJ|J|kJ|kWh)\b", cell.text) and name != "Low to high":
                    assert cell.one(class_="kind").text == "modelled", (caption, name, cell.text)
                    cells += 1
    assert cells > 40


def test_front_table_has_the_objectives_of_a_table_and_no_column_without_a_value() -> None:
    made = StudyMaker(objectives="accuracy:max,energy_kj:min", **{"table.file": "cells.csv"})
    unknown = dict.fromkeys(("inference_energy_j_per_1k", "latency_ms", "flops", "train_energy_j"))
    made.add(screened=0, design=True, energy_kj=7.5, **unknown)
    (row,) = page_of(made).table(FRONT)
    assert list(row) == ["Architecture", "Validation accuracy", "Parameters", "energy_kj"]
    assert row["energy_kj"].text == "7.5"
