"""NAS-Bench-101: cells of up to 7 vertices and 9 edges with conv 3x3, conv 1x1 and max pooling.

C. Ying et al.: NAS-Bench-101 (ICML 2019). Skeleton: stem of ``width`` channels, three stacks of ``depth``
cells, max pooling and twice the channels from one stack to the next. The defaults are the published
skeleton. Parameters: ``{"matrix": upper-triangular adjacency with input and output, "operations": those of
the vertices between them}``, without vertices that lie on no path from input to output.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from greennas.errors import InvalidArchitectureError, SpaceError
from greennas.profile import CostProfile
from greennas.space import Trial
from search_spaces._cells import changed_cells, unique_cells
from search_spaces._nasbench101_cell import MAX_EDGES, OPERATIONS, Matrix, cell_of, check_form, connected, module_hash
from search_spaces._pieces import (
    Add,
    Concatenation,
    PoolLinear,
    Shape,
    conv_bn_relu,
    conv_stem,
    halved,
    piece_profile,
    stem_halvings,
    summed,
)

_SIZES = {2: 1, 3: 7, 4: 91, 5: 2_532, 6: 64_542, 7: 423_624}


def sample(trial: Trial, *, vertices: int = 7) -> dict[str, Any]:
    """Suggest a cell of at most ``vertices`` vertices, backward from its output.

    A vertex that feeds nothing is not asked about, a vertex that nothing feeds is fed by the input, and an
    edge that would leave too few of the 9 edges for the vertices still without input is not offered.
    So every vertex lies on a path from input to output, and every cell of the space can come up.
    """
    _check_vertices(vertices)
    matrix = [[0] * vertices for _ in range(vertices)]
    operations = [OPERATIONS[0]] * vertices  # where not asked about, the vertex is pruned
    unfed, edges = {vertices - 1}, 0  # vertices that need an edge into them, edges so far
    for vertex in range(vertices - 1, 0, -1):
        if vertex not in unfed:
            continue
        if vertex < vertices - 1:
            operations[vertex] = trial.suggest_categorical(f"operation {vertex}", list(OPERATIONS))
        target = "output" if vertex == vertices - 1 else str(vertex)
        for source in range(vertex - 1, -1, -1):
            after = (unfed - {vertex}) | ({source} if source else set())
            if edges + 1 + len(after) > MAX_EDGES:
                continue
            forced = source == 0 and vertex in unfed
            if forced or trial.suggest_categorical(f"edge {source or 'input'} -> {target}", [0, 1]):
                matrix[source][vertex] = 1
                unfed, edges = after, edges + 1
    return from_matrix(matrix, operations[1:-1])


def build(
    params: Mapping[str, Any],
    input_shape: Shape,
    num_classes: int,
    *,
    width: int = 128,
    depth: int = 3,
    resolution: int = 32,
    batch_norm_momentum: float = 0.1,
) -> nn.Module:
    """The network of a cell; larger images than ``resolution`` are strided down in the stem.

    The paper's ``batch_norm_momentum`` is 0.003 (0.997 in TensorFlow's terms): its running statistics need
    some thousand steps, more than a short training has.

    Raises:
        InvalidArchitectureError: not a cell of this space.
    """
    matrix, operations = cell_of(params)
    layers: list[nn.Module] = [_stem(input_shape[0], width, stem_halvings(input_shape, resolution))]
    channels = width
    for stack in range(3):
        if stack:
            layers.append(_downsampling())
        for _ in range(depth):
            layers.append(Cell(matrix, operations, channels, width * 2**stack))
            channels = width * 2**stack
    network = nn.Sequential(*layers, PoolLinear(channels, num_classes))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = batch_norm_momentum
    return network


def canonical(params: Mapping[str, Any]) -> str:
    """The published module hash, equal for isomorphic cells.

    Raises:
        InvalidArchitectureError: not a cell of this space.
    """
    return module_hash(*cell_of(params))


def profile(
    params: Mapping[str, Any],
    input_shape: Shape,
    num_classes: int,
    batch_size: int,
    *,
    width: int = 128,
    depth: int = 3,
    resolution: int = 32,
) -> CostProfile:
    """Closed form, equal to the walk of the built network: a sum of cached pieces."""
    matrix, operations = cell_of(params)
    halvings = stem_halvings(input_shape, resolution)
    pieces = [piece_profile(_stem, (input_shape[0], width, halvings), input_shape, batch_size)]
    shape = halved(input_shape, halvings, width)
    for stack in range(3):
        if stack:
            pieces.append(piece_profile(_downsampling, (), shape, batch_size))
            shape = halved(shape)
        channels = width * 2**stack
        pieces.append(_cell_profile(matrix, operations, shape, channels, batch_size))
        shape = (channels, *shape[1:])
        pieces.append(_cell_profile(matrix, operations, shape, channels, batch_size).times(depth - 1))
    pieces.append(piece_profile(PoolLinear, (shape[0], num_classes), shape, batch_size))
    return CostProfile.combine(pieces)


def features(params: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of the labelled graph that do not depend on the order of its vertices.

    Vertices, edges, vertices of each operation, edges between each two labels, longest and shortest path from
    input to output, most 3x3 convolutions on a path, and the number of paths.

    Raises:
        InvalidArchitectureError: not a cell of this space.
    """
    matrix, operations = cell_of(params)
    labels = ["input", *operations, "output"]
    found = {"vertices": float(len(matrix)), "edges": float(sum(map(sum, matrix)))}
    found |= {operation: float(operations.count(operation)) for operation in OPERATIONS}
    longest, shortest, convolutions, paths = [0], [0], [0], [1]
    for vertex in range(1, len(matrix)):
        sources = [source for source in range(vertex) if matrix[source][vertex]]
        for source in sources:
            pair = f"{labels[source]} -> {labels[vertex]}"
            found[pair] = found.get(pair, 0.0) + 1
        longest.append(1 + max(longest[source] for source in sources))
        shortest.append(1 + min(shortest[source] for source in sources))
        convolutions.append((labels[vertex] == OPERATIONS[0]) + max(convolutions[source] for source in sources))
        paths.append(sum(paths[source] for source in sources))
    ends = {"longest path": longest, "shortest path": shortest, "deepest 3x3": convolutions, "paths": paths}
    return found | {name: float(values[-1]) for name, values in ends.items()}


def size(*, vertices: int = 7) -> int:
    """Number of different cells of at most ``vertices`` vertices and 9 edges (Ying et al. 2019, table of the space)."""
    _check_vertices(vertices)
    return _SIZES[vertices]


def architectures(*, vertices: int = 7) -> Iterator[dict[str, Any]]:
    """Parameters of every different cell, ``size(vertices)`` of them, always in the same order."""
    _check_vertices(vertices)
    for matrix, operations in unique_cells(vertices, MAX_EDGES, OPERATIONS):
        yield {"matrix": matrix, "operations": operations}


def changes(params: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each valid cell that is one operation or one edge away from ``params``, and the change in words."""
    for change, matrix, operations in changed_cells(*cell_of(params), OPERATIONS):
        with contextlib.suppress(InvalidArchitectureError):
            yield change, from_matrix(matrix, operations)


def from_matrix(adjacency: Any, operations: Sequence[str]) -> dict[str, Any]:
    """Parameters of a published cell; vertices on no path from input to output are pruned.

    Args:
        adjacency: upper-triangular 0/1 matrix (nested lists, array or tensor), input first, output last.
        operations: operations of the vertices between input and output.

    Raises:
        InvalidArchitectureError: not such a matrix, an unknown operation, no path from input to output,
            or, once pruned, more than 7 vertices or 9 edges.
    """
    try:
        matrix = [[int(edge) for edge in row] for row in adjacency]
    except (TypeError, ValueError) as error:
        raise InvalidArchitectureError(f"{adjacency!r} is no adjacency matrix; give rows of 0 and 1.") from error
    check_form(matrix, operations)
    kept = connected(matrix)
    pruned = [[matrix[i][j] for j in kept] for i in kept]
    params = {"matrix": pruned, "operations": [operations[vertex - 1] for vertex in kept[1:-1]]}
    cell_of(params)
    return params


class Cell(nn.Module):
    """One cell: a vertex applies its operation to the sum of its inputs; the output concatenates.

    The cell's input is projected by a convolution 1x1 into every vertex that it feeds; other inputs with one
    channel too many are truncated.
    """

    def __init__(self, matrix: Matrix, operations: tuple[str, ...], in_channels: int, channels: int) -> None:
        super().__init__()
        self.matrix = matrix
        self.channels = _vertex_channels(matrix, in_channels, channels)
        self.operations = nn.ModuleList(
            _operation(name, width) for name, width in zip(operations, self.channels[1:-1], strict=True)
        )
        self.projections = nn.ModuleDict(
            {
                str(vertex): conv_bn_relu(in_channels, self.channels[vertex], 1)
                for vertex in range(1, len(matrix))
                if matrix[0][vertex]
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(batch, in_channels, height, width)`` to ``(batch, channels, height, width)``."""
        output = len(self.matrix) - 1
        values = [x]
        for vertex in range(1, output):
            width = self.channels[vertex]
            inputs = [
                values[source] if self.channels[source] == width else values[source][:, :width]
                for source in range(1, vertex)
                if self.matrix[source][vertex]
            ]
            if self.matrix[0][vertex]:
                inputs.append(self.projections[str(vertex)](x))
            values.append(self.operations[vertex - 1](summed(inputs)))
        last = [values[source] for source in range(1, output) if self.matrix[source][output]]
        outputs = [torch.cat(last, 1) if len(last) > 1 else last[0]] if last else []
        if self.matrix[0][output]:
            outputs.append(self.projections[str(output)](x))
        return summed(outputs)


def _stem(in_channels: int, channels: int, halvings: int) -> nn.Sequential:
    return nn.Sequential(conv_stem(in_channels, channels, halvings), nn.ReLU(inplace=True))


def _downsampling() -> nn.Module:
    return nn.MaxPool2d(2, 2, ceil_mode=True)  # "same" padding: odd sides are rounded up


def _operation(name: str, channels: int) -> nn.Module:
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, 1, 1)
    return conv_bn_relu(channels, channels, 3 if name == "conv3x3-bn-relu" else 1)


def _check_vertices(vertices: int) -> None:
    if vertices not in range(3, 8):
        raise SpaceError(f"NAS-Bench-101 has no cells of up to {vertices} vertices; give vertices from 3 to 7.")


@functools.lru_cache(maxsize=65536)
def _vertex_channels(matrix: Matrix, in_channels: int, channels: int) -> list[int]:
    """Channels of every vertex: those into the output share ``channels``, others have the most of what they feed."""
    output = len(matrix) - 1
    last = [vertex for vertex in range(1, output) if matrix[vertex][output]]
    found = [in_channels, *[0] * (output - 1), channels]
    for position, vertex in enumerate(last):
        found[vertex] = channels // len(last) + (position < channels % len(last))
    for vertex in range(output - 1, 0, -1):
        if not matrix[vertex][output]:
            found[vertex] = max(found[target] for target in range(vertex + 1, output) if matrix[vertex][target])
    return found


def _cell_profile(
    matrix: Matrix, operations: tuple[str, ...], shape: Shape, channels: int, batch_size: int
) -> CostProfile:
    widths = _vertex_channels(matrix, shape[0], channels)
    sides = shape[1:]
    output = len(matrix) - 1
    pieces, depths = [], [0]
    for vertex in range(1, output + 1):
        here: Shape = (widths[vertex], *sides)
        interior = [source for source in range(1, vertex) if matrix[source][vertex]]
        depth = max((depths[source] for source in interior), default=0)
        terms = len(interior)
        if vertex == output and terms > 1:
            split = tuple(widths[source] for source in interior)
            pieces.append(piece_profile(Concatenation, split, (split[0], *sides), batch_size))
            terms = 1
        if matrix[0][vertex]:
            pieces.append(piece_profile(conv_bn_relu, (shape[0], widths[vertex], 1), shape, batch_size))
            terms, depth = terms + 1, max(depth, 1)
        if terms > 1:
            pieces.append(piece_profile(Add, (), here, batch_size).times(terms - 1))
        if vertex < output:
            operation = piece_profile(_operation, (operations[vertex - 1], widths[vertex]), here, batch_size)
            pieces.append(operation)
            depth += operation.depth
        depths.append(depth)
    return CostProfile.combine(pieces, depth=depths[output])
