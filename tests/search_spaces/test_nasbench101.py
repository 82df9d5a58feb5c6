"""NAS-Bench-101 against the published graphs, hashes and parameter counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from space_samples import samples

from greennas.errors import InvalidArchitectureError, SpaceError
from greennas.space import load_space
from search_spaces.nasbench101 import MAX_EDGES, OPERATIONS

SPACE = load_space("nasbench101")
CONV3, CONV1, POOL = OPERATIONS
CHAIN = [[int(i + 1 == j) for j in range(7)] for i in range(7)]


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def graphs(files: dict[str, Any], vertices: int) -> dict[str, dict[str, Any]]:
    """Parameters of the published graphs by their hash."""
    return {
        name: SPACE.from_matrix(matrix, [OPERATIONS[label] for label in labels[1:-1]])
        for name, (matrix, labels) in files[f"graphs/generated_graphs_{vertices}V9E.json"].items()
    }


@pytest.mark.parametrize(("vertices", "size"), [(4, 91), (5, 2_532)])
def test_hashes_and_sizes_are_the_published_ones(ec_nas_files: dict[str, Any], vertices: int, size: int) -> None:
    found = graphs(ec_nas_files, vertices)
    assert {SPACE.canonical(params) for params in found.values()} == set(found)
    assert all(SPACE.canonical(params) == name for name, params in found.items())
    assert load_space("nasbench101", vertices=vertices).size == len(found) == size


@pytest.mark.parametrize(("vertices", "size"), [(4, 91), (5, 2_532)])
def test_parameters_are_the_published_ones(ec_nas_files: dict[str, Any], vertices: int, size: int) -> None:
    found = graphs(ec_nas_files, vertices)
    published = {
        path.split("/")[-3]: result["trainable_params"]
        for path, result in ec_nas_files.items()
        if f"/{vertices}V9E/" in path
    }
    assert len(published) == size
    assert {name: SPACE.profile(found[name]).parameters for name in published} == published
    for name in sorted(published)[::600]:
        assert count(SPACE.build(found[name], (3, 32, 32), 10)) == published[name]


def test_parameters_of_the_published_cells_of_7_vertices(ec_nas: Path) -> None:
    adjacency, operations, _, parameters = torch.load(ec_nas / "7v_data.pt", weights_only=True)
    names = {2: CONV1, 3: CONV3, 4: POOL}
    for index, (matrix, labels) in enumerate(zip(adjacency.numpy(), operations.tolist(), strict=True)):
        last = labels.index(5)
        params = SPACE.from_matrix(matrix[: last + 1, : last + 1], [names[label] for label in labels[1:last]])
        assert SPACE.profile(params, (3, 32, 32), 10, 8).parameters == parameters[index]
        if index % 1500 == 0:
            assert count(SPACE.build(params, (3, 32, 32), 10)) == parameters[index]


class Script:
    """A trial that answers from a list and then with the first choice; says what it was asked."""

    def __init__(self, answers: tuple[int, ...]) -> None:
        self.answers = answers
        self.asked: list[int] = []

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        index = self.answers[len(self.asked)] if len(self.asked) < len(self.answers) else 0
        self.asked.append(len(choices))
        return choices[index]


def every_sample(vertices: int) -> Iterator[dict[str, Any]]:
    """All that ``sample`` can suggest, one after the other."""
    space = load_space("nasbench101", vertices=vertices)
    answers: tuple[int, ...] | None = ()
    while answers is not None:
        script = Script(answers)
        yield space.sample(script)
        taken = [*answers, *[0] * (len(script.asked) - len(answers))]
        while taken and taken[-1] + 1 == script.asked[len(taken) - 1]:
            taken.pop()
        answers = (*taken[:-1], taken[-1] + 1) if taken else None


@pytest.mark.parametrize(("vertices", "size"), [(3, 7), (4, 91), (5, 2_532)])
def test_every_cell_of_the_space_can_be_sampled_and_no_other(vertices: int, size: int) -> None:
    found = {SPACE.canonical(params) for params in every_sample(vertices)}
    assert len(found) == load_space("nasbench101", vertices=vertices).size == size


def test_samples_of_7_vertices_keep_the_bounds_of_the_space() -> None:
    edges, sizes = [], set()
    for params in samples(SPACE, 300):
        matrix = np.array(params["matrix"])
        assert SPACE.from_matrix(matrix, params["operations"]) == params  # nothing to prune
        edges.append(int(matrix.sum()))
        sizes.add(len(matrix))
    assert max(edges) == MAX_EDGES
    assert max(sizes) == 7
    assert min(sizes) <= 3


def test_isomorphic_cells_have_one_id_and_unconnected_vertices_are_pruned() -> None:
    left = SPACE.from_matrix([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], [CONV3, POOL])
    right = SPACE.from_matrix(np.array([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]), [POOL, CONV3])
    assert SPACE.canonical(left) == SPACE.canonical(right)
    hanging = SPACE.from_matrix([[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], [CONV3, POOL])
    assert hanging == {"matrix": [[0, 1], [0, 0]], "operations": []}


def test_channels_of_an_uneven_split_add_up() -> None:
    space = load_space("nasbench101", width=10, depth=1)
    for matrix in itertools.islice((params["matrix"] for params in every_sample(5)), 0, None, 97):
        operations = [CONV1] * (len(matrix) - 2)
        network = space.build(space.from_matrix(matrix, operations), (3, 8, 8), 10)
        assert network(torch.rand(2, 3, 8, 8)).shape == (2, 10)


def test_batch_norm_momentum_is_an_option() -> None:
    network = load_space("nasbench101", width=8, depth=1, batch_norm_momentum=0.003).build(
        SPACE.from_matrix(CHAIN, [CONV3] * 5), (3, 8, 8), 10
    )
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.003, 1e-5)}


@pytest.mark.parametrize(
    ("matrix", "operations", "message"),
    [
        ([[0, 1], [0]], [], "square"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [], "one operation for each vertex"),
        ([[0, 1], [1, 0]], [], "upper triangular"),
        ([[0, 2], [0, 0]], [], "entries 0 and 1"),
        ([[0, 0], [0, 0]], [], "no path from its input to its output"),
        ("adjacency", [], "rows of 0 and 1"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["conv9x9"], "no operation 'conv9x9'"),
        ([[int(i < j) for j in range(5)] for i in range(5)], [CONV1] * 3, "allows at most 7 and 9"),
        ([[int(i + 1 == j) for j in range(8)] for i in range(8)], [CONV1] * 6, "allows at most 7 and 9"),
    ],
)
def test_wrong_cells_are_errors_with_a_sentence(matrix: Any, operations: list[str], message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        SPACE.from_matrix(matrix, operations)


@pytest.mark.parametrize("vertices", [2, 8])
def test_wrong_number_of_vertices_is_an_error_with_a_sentence(vertices: int) -> None:
    with pytest.raises(SpaceError, match="give vertices from 3 to 7"):
        load_space("nasbench101", vertices=vertices).sample(Script(()))


def test_features_do_not_depend_on_the_order_of_vertices() -> None:
    diamond = [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    found = SPACE.features(SPACE.from_matrix(diamond, [CONV3, POOL]))
    assert found == SPACE.features(SPACE.from_matrix(diamond, [POOL, CONV3]))
    assert found is not None
    assert found["paths"] == 2
    assert found["longest path"] == 2
    assert found["deepest 3x3"] == 1
    assert found[f"input -> {POOL}"] == 1
