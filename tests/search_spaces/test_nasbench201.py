"""NAS-Bench-201 against its published figures."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest
import torch
from space_samples import samples

from greennas.errors import InvalidArchitectureError
from greennas.space import load_space
from search_spaces.nasbench201 import OPERATIONS

SPACE = load_space("nasbench201")

ALL_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
FIRST = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
SECOND = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
SKIP = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


def written(operations: tuple[str, ...]) -> str:
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


@pytest.mark.parametrize(
    ("text", "classes", "parameters", "published_mflops"),
    [
        (ALL_3X3, 10, 1_531_546, 220.11969),
        (ALL_3X3, 100, 1_537_396, 220.12554),
        (SKIP, 10, 73_306, 7.78305),
        (SKIP, 100, 79_156, 7.7889),
        (FIRST, 10, 129_306, None),
        (SECOND, 10, 802_426, 113.95137),
    ],
)
def test_published_parameters_and_flops(
    text: str, classes: int, parameters: int, published_mflops: float | None
) -> None:
    params = SPACE.from_string(text)
    found = SPACE.profile(params, (3, 32, 32), classes)
    network = SPACE.build(params, (3, 32, 32), classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == found.parameters == parameters
    if published_mflops is not None:  # multiply-adds, with one for each bias of the classifier
        assert (found.total_flops / 2 + classes) / 1e6 == pytest.approx(published_mflops, abs=1e-5)


def test_strings_round_trip() -> None:
    for text in (ALL_3X3, FIRST, SECOND, SKIP):
        assert SPACE.to_string(SPACE.from_string(text)) == text
    for params in samples(SPACE, 50):
        assert SPACE.from_string(SPACE.to_string(params)) == params


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|nor_conv_3x3~0|",
        ALL_3X3.replace("~2", "~1"),
        ALL_3X3.replace("3x3", "9x9"),
        SKIP.replace("skip_connect", "none"),
        "|none~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    ],
)
def test_wrong_strings_are_errors_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=r"; "):
        SPACE.from_string(text)


def test_dead_operations_are_built_but_neither_executed_nor_counted_in_the_id() -> None:
    dead = SPACE.from_string("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|")
    plain = SPACE.from_string(SKIP)
    assert SPACE.canonical(dead) == SPACE.canonical(plain)
    assert SPACE.profile(dead).parameters > SPACE.profile(plain).parameters
    assert SPACE.profile(dead).flops == SPACE.profile(plain).flops
    network = load_space("nasbench201", width=4, depth=1).build(dead, (1, 8, 8), 10)
    network(torch.rand(2, 1, 8, 8)).sum().backward()
    assert any(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        # nodes 1 and 2 exchanged
        (
            "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
            "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|",
        ),
        # a skip is an alias of its source
        (
            "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|",
            "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
        ),
    ],
)
def test_the_same_network_has_the_same_id(left: str, right: str) -> None:
    assert SPACE.architecture(SPACE.from_string(left)).id == SPACE.architecture(SPACE.from_string(right)).id


def test_a_shared_convolution_differs_from_two_equal_ones() -> None:
    shared = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    apart = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    assert SPACE.canonical(SPACE.from_string(shared)) != SPACE.canonical(SPACE.from_string(apart))


def test_size_and_ids_by_enumeration() -> None:
    costs: dict[str, set[tuple[float, int, int]]] = defaultdict(set)
    expressions: dict[str, set[str]] = defaultdict(set)
    disconnected = 0
    small = load_space("nasbench201", width=2, depth=1, resolution=4)
    for operations in itertools.product(OPERATIONS, repeat=6):
        try:
            params = SPACE.from_string(written(operations))
        except InvalidArchitectureError:
            disconnected += 1
            continue
        cost = small.profile(params, (1, 4, 4), 2)
        name = SPACE.canonical(params)
        costs[name].add((cost.total_flops, cost.num_kernels, cost.depth))
        expressions[tree(operations)].add(name)
    assert len(costs) == SPACE.size == 5_424
    assert disconnected == 341
    assert all(len(found) == 1 for found in costs.values())
    # One id is one expression; an expression is several networks where shared terms look like equal ones.
    assert len(expressions) == 4_929
    assert sum(len(names) for names in expressions.values()) == len(costs)


def tree(operations: tuple[str, ...]) -> str:
    """The cell's output as an expression in which skips are aliases and "none" is 0."""
    nodes: list[list[str]] = [["x"], [], [], []]
    edges = iter(operations)
    for node in (1, 2, 3):
        for source in range(node):
            operation = next(edges)
            if operation == "skip_connect":
                nodes[node] += nodes[source]
            elif operation != "none" and nodes[source]:
                nodes[node].append(f"{operation}({'+'.join(sorted(nodes[source]))})")
    return "+".join(sorted(nodes[3]))


def test_samples_have_no_dead_operation() -> None:
    found = set()
    for params in samples(SPACE, 200):
        for edge, operation in params.items():
            if operation != "none":
                try:  # without a live operation it is another network, or none at all
                    assert SPACE.canonical({**params, edge: "none"}) != SPACE.canonical(params)
                except InvalidArchitectureError:
                    continue
        found.add(SPACE.canonical(params))
    assert len(found) > 150
