"""Drawings of what parameters describe: cells as graphs, stages as rows of blocks."""

from __future__ import annotations

import itertools
import re
from typing import Any

import optuna
import pytest
from report_studies import Element, Page

import greennas
from greennas.report.drawing import drawing, reading
from greennas.report.layers import placed_in_layers

TIMES = "\N{MULTIPLICATION SIGN}"


def svg_of(params: dict[str, Any]) -> Element:
    return Page(drawing(params)).root.one("svg")


def sampled(space: str, count: int, **options: int) -> list[dict[str, Any]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [dict(greennas.load_space(space, **options).sample(study.ask())) for _ in range(count)]


@pytest.mark.parametrize("space", ["nasbench101", "nasbench201", "mobilenet", "resnet"])
def test_every_network_of_the_built_in_spaces_has_a_drawing_within_its_frame(space: str) -> None:
    for params in sampled(space, 40):
        svg = svg_of(params)
        width, height = map(float, str(svg.attributes["viewbox"]).split()[2:])
        for box in svg.all("rect"):
            x, y, wide, high = (float(str(box.attributes[name])) for name in ("x", "y", "width", "height"))
            assert 0 <= x <= x + wide <= width
            assert 0 <= y <= y + high <= height
        assert len(str(svg.attributes["aria-label"])) > 20


def test_vertices_of_a_cell_never_overlap_and_stand_below_what_feeds_them() -> None:
    for params in sampled("nasbench101", 60):
        size = len(params["matrix"])
        edges = [(i, j) for i in range(size) for j in range(size) if params["matrix"][i][j]]
        placed = placed_in_layers([80.0] * size, edges)
        assert all(placed.at[a][1] < placed.at[b][1] for a, b in edges)
        for (x, y), (other_x, other_y) in itertools.combinations(placed.at, 2):
            assert y != other_y or abs(x - other_x) >= 80 - 1e-6
        for (a, b), points in zip(edges, placed.edges, strict=True):
            assert (points[0], points[-1]) == (placed.at[a], placed.at[b])
            steps = [below[1] - above[1] for above, below in itertools.pairwise(points)]
            assert len(set(steps)) == 1  # one point in every layer that it passes


def test_an_edge_that_passes_layers_keeps_off_their_vertices() -> None:
    placed = placed_in_layers([80.0] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    for (x, y), vertex in itertools.product(placed.edges[-1][1:-1], placed.at):
        assert y != vertex[1] or abs(x - vertex[0]) > 40


def test_vertices_that_nothing_reaches_are_faint() -> None:
    edges = dict.fromkeys(("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"), "none")
    svg = svg_of(edges | {"3<-0": "nor_conv_3x3"})
    assert [vertex.text for vertex in svg.all("g", class_="unused")] == ["1", "2"]
    assert len(svg_of(edges).all("g", class_="unused")) == 4


def test_stages_are_rows_and_blocks_are_boxes_with_kernel_and_expansion() -> None:
    params = {
        "multiplier": 0.5,
        "stage 1 blocks": 2,
        "stage 1 squeeze-excite": True,
        "stage 1 block 1 kernel": 5,
        "stage 1 block 1 expansion": 6,
        "stage 1 block 2 kernel": 3,
        "stage 1 block 2 expansion": 3,
        "stage 2 blocks": 1,
        "stage 2 squeeze-excite": False,
        "stage 2 block 1 kernel": 3,
        "stage 2 block 1 expansion": 4,
    }
    svg = svg_of(params)
    assert [box.text for box in svg.all("g", class_="block")] == [
        f"{kernel}{TIMES}{kernel} {TIMES}{expansion}" for kernel, expansion in ((5, 6), (3, 3), (3, 4))
    ]
    assert [text.text for text in svg.all("text", class_="facts")] == [f"width {TIMES}0.5", "squeeze-excite"]
    first, second, third = (box.one("rect") for box in svg.all("g", class_="block"))
    widths = [float(str(box.attributes["width"])) for box in (second, third, first)]
    assert widths == sorted(set(widths))  # by expansion
    opacities = [re.findall(r"fill-opacity:([\d.]+)", str(box.attributes["style"]))[0] for box in (first, second)]
    assert float(opacities[0]) > float(opacities[1])  # by kernel
    words = str(svg.attributes["aria-label"])
    assert "stage 1: 2 blocks (squeeze-excite; kernel 5 · expansion 6, kernel 3 · expansion 3)" in words
    assert "larger its kernel" in reading(params)


def test_many_blocks_fit_into_their_row() -> None:
    svg = svg_of({"stage 1 blocks": 24, "stage 1 multiplier": 1.25})
    ends = [float(str(box.attributes["x"])) + float(str(box.attributes["width"])) for box in svg.all("rect")]
    assert len(ends) == 24
    assert max(ends) <= float(str(svg.attributes["viewbox"]).split()[2])


def test_a_cell_too_large_to_draw_is_not_drawn() -> None:
    size = 14
    matrix = [[int(j == i + 1) for j in range(size)] for i in range(size)]
    assert drawing({"matrix": matrix, "operations": ["conv3x3-bn-relu"] * (size - 2)}) == ""
    assert reading({"matrix": matrix, "operations": ["conv3x3-bn-relu"] * (size - 2)}) == ""
