"""NAS-Bench-201: cells of 4 nodes whose 6 edges are none, skip, conv 1x1, conv 3x3 or average pooling.

X. Dong, Y. Yang: NAS-Bench-201 (ICLR 2020). Skeleton: stem, three stages of ``depth`` cells with residual
blocks of stride 2 between them, widths ``width``, 2 ``width``, 4 ``width``. The defaults are the published
skeleton. Parameters: operation by edge, ``{"1<-0": "nor_conv_3x3", ...}``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from greennas.errors import InvalidArchitectureError
from greennas.profile import CostProfile
from greennas.space import Trial
from search_spaces._pieces import Add, PoolLinear, Shape, conv_stem, halved, piece_profile, stem_halvings, summed

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""Edges of a cell as (node, source), in the order of the published strings; 0 is the input, 3 the output."""

_NAMES = tuple(f"{node}<-{source}" for node, source in EDGES)
_CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
_SIZE = 5424


def sample(trial: Trial) -> dict[str, str]:
    """Suggest a cell backward from its output, so that every operation lies on a path from input to output.

    Edges into a node that feeds nothing are "none" without a question. The last edge into a node that would
    otherwise have no input is asked under its own name (ending in "!") without "none".
    """
    cell = dict.fromkeys(_NAMES, "none")
    needed = {3}
    for node in (3, 2, 1):
        if node not in needed:
            continue
        fed = False
        for source in range(node):
            name = f"{node}<-{source}"
            if fed or source < node - 1:
                cell[name] = trial.suggest_categorical(name, list(OPERATIONS))
            else:
                cell[name] = trial.suggest_categorical(name + "!", list(OPERATIONS[1:]))
            if cell[name] != "none":
                fed = True
                needed.add(source)
    return cell


def build(
    params: Mapping[str, Any],
    input_shape: Shape,
    num_classes: int,
    *,
    width: int = 16,
    depth: int = 5,
    resolution: int = 32,
) -> nn.Module:
    """The network of a cell; larger images than ``resolution`` are strided down in the stem.

    Raises:
        InvalidArchitectureError: not a cell of this space, or no path from its input to its output.
    """
    operations = _operations(params)
    _live_edges(operations)
    layers: list[nn.Module] = [conv_stem(input_shape[0], width, stem_halvings(input_shape, resolution))]
    for stage in range(3):
        if stage:
            layers.append(Reduction(width * 2 ** (stage - 1)))
        layers += [Cell(operations, width * 2**stage) for _ in range(depth)]
    return nn.Sequential(*layers, _head(4 * width, num_classes))


@functools.lru_cache(maxsize=16384)
def _canonical(operations: tuple[str, ...]) -> str:
    live = _live_edges(operations)
    # Skips are aliases: a node's value is a sum of terms, each the input (-1) or what an operation's edge makes.
    terms: dict[int, list[int]] = {0: [-1], 1: [], 2: [], 3: []}
    for edge in live:
        node, source = EDGES[edge]
        terms[node] += terms[source] if operations[edge] == "skip_connect" else [edge]
    executed = [edge for edge in live if operations[edge] != "skip_connect"]
    tree = {-1: "x"}  # as an expression, in which shared terms look like equal ones
    for edge in executed:
        tree[edge] = f"{operations[edge]}({'+'.join(sorted(tree[term] for term in terms[EDGES[edge][1]]))})"

    def written(order: Sequence[int]) -> str:
        index = {-1: -1} | {edge: position for position, edge in enumerate(order)}
        lines = [[operations[edge], *sorted(index[term] for term in terms[EDGES[edge][1]])] for edge in order]
        return "|".join(",".join(map(str, line)) for line in [*lines, ["out", *sorted(index[t] for t in terms[3])]])

    groups = [list(group) for _, group in itertools.groupby(sorted(executed, key=tree.__getitem__), tree.__getitem__)]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    return min(written([*itertools.chain(*order)]) for order in orders)


def canonical(params: Mapping[str, Any]) -> str:
    """Equal for two cells that execute the same operations on the same values.

    Dead operations do not count, skip connections are aliases of their source, and the order of nodes and
    of terms of a sum is free. (The published ``to_unique_str`` also calls one shared convolution and two
    equal ones the same; here they differ, as their weights and costs do.)

    Raises:
        InvalidArchitectureError: not a cell of this space, or no path from its input to its output.
    """
    return _canonical(_operations(params))


def profile(
    params: Mapping[str, Any],
    input_shape: Shape,
    num_classes: int,
    batch_size: int,
    *,
    width: int = 16,
    depth: int = 5,
    resolution: int = 32,
) -> CostProfile:
    """Closed form, equal to the walk of the built network: a sum of cached pieces."""
    operations = _operations(params)
    halvings = stem_halvings(input_shape, resolution)
    pieces = [piece_profile(conv_stem, (input_shape[0], width, halvings), input_shape, batch_size)]
    shape = halved(input_shape, halvings, width)
    for stage in range(3):
        if stage:
            pieces.append(piece_profile(Reduction, (shape[0],), shape, batch_size))
            shape = halved(shape, channels=2 * shape[0])
        pieces.append(_cell_profile(operations, shape, batch_size).times(depth))
    pieces.append(piece_profile(_head, (4 * width, num_classes), shape, batch_size))
    return CostProfile.combine(pieces)


def size() -> int:
    """Number of different networks among the 15,625 cell strings, by ``canonical``."""
    return _SIZE


def from_string(text: str) -> dict[str, str]:
    """Parameters of a published cell string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``; dead operations stay.

    Raises:
        InvalidArchitectureError: not such a string, an unknown operation, or no path from input to output.
    """
    tokens = [token for node in text.strip().split("+") for token in node.strip("|").split("|")]
    parts = [token.rpartition("~") for token in tokens]
    if [source for _, _, source in parts] != [str(source) for _, source in EDGES]:
        raise InvalidArchitectureError(
            f"{text!r} is not a NAS-Bench-201 cell; write it as |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."
        )
    for operation, _, _ in parts:
        if operation not in OPERATIONS:
            raise InvalidArchitectureError(
                f"NAS-Bench-201 has no operation {operation!r}; choose from {', '.join(OPERATIONS)}."
            )
    params = dict(zip(_NAMES, (operation for operation, _, _ in parts), strict=True))
    _live_edges(_operations(params))
    return params


def to_string(params: Mapping[str, Any]) -> str:
    """The published cell string of ``params``.

    Raises:
        InvalidArchitectureError: not a cell of this space.
    """
    parts = [f"|{operation}~{source}" for operation, (_, source) in zip(_operations(params), EDGES, strict=True)]
    return "|+".join("".join(parts[start:end]) for start, end in ((0, 1), (1, 3), (3, 6))) + "|"


class Cell(nn.Module):
    """One cell: node j is the sum of its edges' operations on earlier nodes; dead operations are not executed."""

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.live = _live_edges(operations)
        self.edges = nn.ModuleList(_operation(name, channels) for name in operations)

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, channels, height, width)`` to the same shape."""
        nodes: dict[int, Tensor] = {0: x}
        for node in (1, 2, 3):
            terms = [self.edges[edge](nodes[EDGES[edge][1]]) for edge in self.live if EDGES[edge][0] == node]
            if terms:
                nodes[node] = summed(terms)
        return nodes[3]


class Reduction(nn.Module):
    """Residual block of stride 2 that doubles the channels; odd sides are rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = _relu_conv_bn(channels, 2 * channels, 3, stride=2)
        self.conv_b = _relu_conv_bn(2 * channels, 2 * channels, 3)
        self.downsample = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(channels, 2 * channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, channels, height, width)`` to ``(batch, 2 channels, height / 2, width / 2)``."""
        return summed([self.downsample(x), self.conv_b(self.conv_a(x))])


def _relu_conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _operation(name: str, channels: int) -> nn.Module:
    if name in _CONVOLUTIONS:
        return _relu_conv_bn(channels, channels, int(name[-1]))
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return nn.Identity()  # a skip; "none" is never executed


def _head(channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), PoolLinear(channels, num_classes))


def _operations(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The six operations of ``params`` in the order of ``EDGES``."""
    operations = tuple(params.get(name) for name in _NAMES)
    if len(params) != len(_NAMES) or not all(operation in OPERATIONS for operation in operations):
        raise InvalidArchitectureError(
            f"{dict(params)} is not a NAS-Bench-201 cell; give each of the edges {', '.join(_NAMES)} "
            f"one of the operations {', '.join(OPERATIONS)}."
        )
    return operations  # type: ignore[return-value]


@functools.lru_cache(maxsize=16384)
def _live_edges(operations: tuple[str, ...]) -> tuple[int, ...]:
    """Indices of the edges on a path from input to output."""
    fed, needed = {0}, {3}
    for index, (node, source) in enumerate(EDGES):
        if operations[index] != "none" and source in fed:
            fed.add(node)
    for index, (node, source) in reversed([*enumerate(EDGES)]):
        if operations[index] != "none" and node in needed:
            needed.add(source)
    if 3 not in fed:
        raise InvalidArchitectureError(
            f"The NAS-Bench-201 cell {' '.join(operations)} has no path from its input to its output; "
            'replace a "none" so that one exists.'
        )
    return tuple(
        index
        for index, (node, source) in enumerate(EDGES)
        if operations[index] != "none" and source in fed and node in needed
    )


@functools.lru_cache(maxsize=65536)
def _cell_profile(operations: tuple[str, ...], shape: Shape, batch_size: int) -> CostProfile:
    live = _live_edges(operations)
    depths = [0, 0, 0, 0]
    for edge in live:
        node, source = EDGES[edge]
        depths[node] = max(depths[node], depths[source] + (operations[edge] in _CONVOLUTIONS))
    edges = [piece_profile(_operation, (operations[edge], shape[0]), shape, batch_size) for edge in live]
    nodes = len({EDGES[edge][0] for edge in live})
    sums = piece_profile(Add, (), shape, batch_size).times(len(live) - nodes)
    cell = CostProfile.combine([*edges, sums], depth=depths[3])
    dead = [
        piece_profile(_operation, (name, shape[0]), shape, batch_size).parameters
        for edge, name in enumerate(operations)
        if edge not in live
    ]
    return replace(cell, parameters=cell.parameters + sum(dead))
