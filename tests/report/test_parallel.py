"""Parallel coordinates: an axis a metric or parameter, a line a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from report_studies import Element, Page, StudyMaker, architecture_of, whole_search

from greennas.report.parallel import MOST_AXES, parallel_coordinates, traits


def figure(made: StudyMaker) -> Element:
    return Page(parallel_coordinates(made.result())).root


def titles(root: Element) -> list[str]:
    return ["".join(text.text + " " for text in axis.all("text", class_="title")).strip() for axis in axes(root)]


def axes(root: Element) -> list[Element]:
    return root.all("g", class_="axis")


def heights(line: Element) -> list[float]:
    """Where a line crosses each axis, in pixels from above."""
    path = str(line.all("path")[0].attributes["d"])
    return [float(y) for y in re.findall(r"(?:M| )\d+,([\d.]+)(?=C|$)", path)]


def test_each_trained_network_is_a_line_and_the_front_is_links(tmp_path: Path) -> None:
    result = whole_search(StudyMaker(), tmp_path)
    root = Page(parallel_coordinates(result)).root
    lines = {str(line.attributes["data-network"]): line for line in root.all(class_="line")}
    assert set(lines) == {str(trial.number) for trial in result.completed}
    front = {number: line for number, line in lines.items() if line.tag == "a"}
    assert set(front) == {str(trial.number) for trial in result.front}
    assert all(line.attributes["href"] == f"#network-{number}" for number, line in front.items())
    assert len(axes(root)) <= MOST_AXES
    assert all(len(heights(line)) == len(axes(root)) for line in lines.values())
    best = result.front[0]
    assert f"{100 * (best.metrics['accuracy'] or 0):.2f}%" in front[str(best.number)].one("title").text


def test_better_is_up_on_the_axes_of_metrics() -> None:
    made = StudyMaker(space="mine.py")
    for i, (accuracy, joules) in enumerate([(0.9, 10.0), (0.95, 500.0), (0.99, 1000.0)]):
        params = {"depth": i, "block": "abc"[i]}
        made.add(architecture=architecture_of(params, "mine.py"), accuracy=accuracy, train_energy_j=joules)
    root = figure(made)
    names = titles(root)
    crossed = {line.attributes["data-network"]: heights(line) for line in root.all(class_="line")}
    accuracy, energy = names.index("Validation accuracy"), names.index("Training energy")
    assert crossed["2"][accuracy] < crossed["1"][accuracy] < crossed["0"][accuracy]
    assert crossed["0"][energy] < crossed["1"][energy] < crossed["2"][energy]
    # Two decades: a logarithmic axis, on which 500 J is nearer to 1000 J than to 10 J.
    assert crossed["1"][energy] - crossed["0"][energy] > crossed["2"][energy] - crossed["1"][energy]
    ticks = {text.text for text in axes(root)[energy].all("text", class_="tick")}
    assert {"10", "20", "50", "100", "200", "500", "1,000"} <= ticks
    assert "depth" in names
    words = [text.text for text in axes(root)[names.index("block")].all("text", class_="tick")]
    assert sorted(words) == ["a", "b", "c"]


def test_parameters_that_tell_the_most_are_shown_where_there_are_too_many() -> None:
    made = StudyMaker(space="mine.py")
    for i in range(12):
        noise: dict[str, Any] = {f"p{k}": (i * (k + 3)) % 5 for k in range(12)}
        params = {**noise, "telling": i % 4}
        made.add(architecture=architecture_of(params, "mine.py"), train_energy_j=10.0 + 20 * (i % 4))
    root = figure(made)
    assert "telling" in titles(root)
    assert len(axes(root)) == MOST_AXES
    assert "more parameters are left out" in root.one("figcaption").text


@pytest.mark.parametrize(
    ("every", "found"),
    [
        ([{"a": 1, "b": True}, {"a": 2, "b": False}], {"a": [1, 2], "b": ["yes", "no"]}),
        ([{"a": 1, "b": [1], "c": 2}, {"a": "x", "b": [2]}], {"a": ["1", "x"]}),
        ([{"1<-0": "conv"}, {"1<-0": "none"}], {"conv operations": [1, 0], "edges": [1, 0]}),
        ([], {}),
    ],
)
def test_traits_are_what_can_be_plotted(every: list[dict[str, Any]], found: dict[str, list[object]]) -> None:
    assert traits(every) == found


def test_nothing_where_there_is_nothing_to_compare() -> None:
    made = StudyMaker()
    assert parallel_coordinates(made.result()) == ""
    made.add()
    assert parallel_coordinates(made.result()) == ""
