"""Cost profile of any network: what it costs on paper, from one walk over the meta device.

The walk runs the forward pass of training (``train`` mode) with tensors that have shapes but no
values, and sees every operator that PyTorch dispatches, whatever module or function it came from.
FLOPs are those of ``torch.utils.flop_counter`` (2 FLOPs a multiply-add; convolutions, matrix products
and attention; everything else 0). Kernels are dispatched operators; views and allocations launch none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from greennas.errors import InvalidArchitectureError
from greennas.walk import OP_KINDS, WEIGHTED, Counts, walk_module

_FLOP_KINDS = tuple(kind for kind in OP_KINDS if kind in WEIGHTED)

FEATURE_NAMES: tuple[str, ...] = (
    *(f"flops_{kind}" for kind in _FLOP_KINDS),
    *(f"bytes_{kind}" for kind in OP_KINDS),
    *(f"kernels_{kind}" for kind in OP_KINDS),
    "total_flops",
    "activation_bytes",
    "weight_bytes",
    "num_kernels",
    "parameters",
    "depth",
    "batch_size",
    "input_values",
    "unaligned_flops",
    "unaligned_bytes",
)
"""Names of the entries of ``CostProfile.features()``, in order."""


@dataclass(frozen=True)
class CostProfile:
    """What one forward pass of a network in training costs.

    Attributes:
        input_shape: shape of one example, without the batch.
        batch_size: examples in the batch.
        flops: floating point operations of one example, by kind (2 a multiply-add).
        bytes: bytes of activations read and written for one example, by kind.
        kernels: operators launched for one batch, by kind.
        weight_bytes: bytes of weights, buffers and constants read (and written) for one batch.
        parameters: number of parameters, shared ones once, whether executed or not.
        depth: largest number of convolutions and matrix products on a path from input to output.
        unaligned_flops: FLOPs of one example in operators with an activation whose channels are no multiple of 8,
            for which most devices have slower kernels.
        unaligned_bytes: bytes of such activations read and written for one example.
    """

    input_shape: tuple[int, ...]
    batch_size: int
    flops: Mapping[str, float]
    bytes: Mapping[str, float]
    kernels: Mapping[str, int]
    weight_bytes: float
    parameters: int
    depth: int
    unaligned_flops: float = 0.0
    unaligned_bytes: float = 0.0

    @functools.cached_property
    def total_flops(self) -> float:
        """FLOPs of the forward pass of one example, as ``FlopCounterMode`` counts them."""
        return sum(self.flops.values())

    @property
    def training_flops(self) -> float:
        """FLOPs of one training step per example: the backward pass counts as two forward passes."""
        return 3 * self.total_flops

    @property
    def activation_bytes(self) -> float:
        """Bytes of activations read and written in the forward pass of one example."""
        return sum(self.bytes.values())

    @property
    def num_kernels(self) -> int:
        """Operators launched in the forward pass of one batch."""
        return sum(self.kernels.values())

    def times(self, count: int) -> CostProfile:
        """The same piece ``count`` times in a row, each with its own parameters.

        Raises:
            ValueError: ``count`` is below 0.
        """
        if count == 1:
            return self
        if count < 0:
            raise ValueError(f"there cannot be {count} layers")
        return CostProfile(
            input_shape=self.input_shape,
            batch_size=self.batch_size,
            flops={kind: count * value for kind, value in self.flops.items()},
            bytes={kind: count * value for kind, value in self.bytes.items()},
            kernels={kind: count * value for kind, value in self.kernels.items()},
            weight_bytes=count * self.weight_bytes,
            parameters=count * self.parameters,
            depth=count * self.depth,
            unaligned_flops=count * self.unaligned_flops,
            unaligned_bytes=count * self.unaligned_bytes,
        )

    @classmethod
    def combine(cls, pieces: Sequence[CostProfile], *, depth: int | None = None) -> CostProfile:
        """Sum of ``pieces`` (at least one) that share no parameters.

        Args:
            pieces: profiles of one batch size; the first says the input shape.
            depth: depth of the whole where the pieces do not stand in a row (default: the sum).

        Raises:
            ValueError: no piece, or pieces of different batch sizes.
        """
        if len({piece.batch_size for piece in pieces}) != 1:
            raise ValueError("give at least one profile, all of the same batch size")
        return cls(
            input_shape=pieces[0].input_shape,
            batch_size=pieces[0].batch_size,
            flops=_summed(piece.flops for piece in pieces),
            bytes=_summed(piece.bytes for piece in pieces),
            kernels=_summed(piece.kernels for piece in pieces),
            weight_bytes=sum(piece.weight_bytes for piece in pieces),
            parameters=sum(piece.parameters for piece in pieces),
            depth=sum(piece.depth for piece in pieces) if depth is None else depth,
            unaligned_flops=sum(piece.unaligned_flops for piece in pieces),
            unaligned_bytes=sum(piece.unaligned_bytes for piece in pieces),
        )

    def features(self) -> NDArray[np.float64]:
        """Shape ``(len(FEATURE_NAMES),)``: physical numbers for predictors, in their own units."""
        return np.array(
            [
                *(self.flops[kind] for kind in _FLOP_KINDS),
                *(self.bytes[kind] for kind in OP_KINDS),
                *(self.kernels[kind] for kind in OP_KINDS),
                self.total_flops,
                self.activation_bytes,
                self.weight_bytes,
                self.num_kernels,
                self.parameters,
                self.depth,
                self.batch_size,
                np.prod(self.input_shape),
                self.unaligned_flops,
                self.unaligned_bytes,
            ],
            dtype=np.float64,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {**asdict(self), "input_shape": list(self.input_shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CostProfile:
        """Read what ``to_json`` wrote.

        Raises:
            InvalidArchitectureError: ``data`` is not a cost profile.
        """
        try:
            return cls(**{**data, "input_shape": tuple(data["input_shape"])})
        except (KeyError, TypeError) as error:
            raise InvalidArchitectureError(
                f"Not a cost profile: {error!r}; give JSON that a cost profile wrote."
            ) from error


_by_kind = itemgetter(*OP_KINDS)
_Number = TypeVar("_Number", int, float)


def _summed(parts: Iterable[Mapping[str, _Number]]) -> dict[str, _Number]:
    """Sums by kind; a search sums up thousands of pieces."""
    return dict(zip(OP_KINDS, map(sum, zip(*map(_by_kind, parts), strict=True)), strict=True))


def profile(module: nn.Module, input_shape: tuple[int, ...], batch_size: int = 1) -> CostProfile:
    """Cost profile of ``module`` in training, by a walk over the meta device.

    A forward pass that needs the values of its tensors (``.item()``, ``if x.sum() > 0``) is run on the
    CPU with random input instead. The module is left as it was: weights, buffers, mode and attributes.
    At least two examples are walked, since batch norm in training refuses a single value per channel.

    Args:
        module: any network that maps ``(batch, *input_shape)`` to something.
        input_shape: shape of one example, for images (channels, height, width).
        batch_size: examples in a batch of the training.

    Raises:
        InvalidArchitectureError: the network does not run on such an input.
    """
    examples = max(2, batch_size)
    counts, _ = _walked(module, input_shape, examples, stages=False)
    return _of(counts, input_shape, batch_size, examples, sum(p.numel() for p in module.parameters()))


def profile_stages(module: nn.Module, input_shape: tuple[int, ...], batch_size: int = 1) -> dict[str, CostProfile]:
    """Cost profile of each direct part of ``module``, by name in the order of their first run.

    What ``module`` does between its parts stands under ``""``. FLOPs, bytes, kernels and parameters add up to those of
    ``profile``, but for parameters that several parts share; the depth is by how much a part deepens the network.

    Args:
        module: as for ``profile``.
        input_shape: as for ``profile``, of the whole network.
        batch_size: as for ``profile``.

    Raises:
        InvalidArchitectureError: the network does not run on such an input.
    """
    examples = max(2, batch_size)
    total, stages = _walked(module, input_shape, examples, stages=True)
    children = dict(module.named_children())
    found = {
        name: _of(counts, input_shape, batch_size, examples, sum(p.numel() for p in children[name].parameters()))
        for name, counts in stages.items()
    }
    rest = functools.reduce(Counts.minus, stages.values(), total)
    own = sum(p.numel() for p in module.parameters(recurse=False))
    return found | {"": _of(rest, input_shape, batch_size, examples, own)}


def _walked(
    module: nn.Module, input_shape: tuple[int, ...], examples: int, stages: bool
) -> tuple[Counts, dict[str, Counts]]:
    try:
        return walk_module(module, input_shape, examples, "meta", stages)
    except Exception:
        try:
            return walk_module(module, input_shape, examples, "cpu", stages)
        except Exception as error:
            raise InvalidArchitectureError(
                f"The network does not run on input of shape {tuple(input_shape)} ({type(error).__name__}: {error}); "
                "check the input shape and the forward method."
            ) from error


def _of(counts: Counts, input_shape: tuple[int, ...], batch_size: int, examples: int, parameters: int) -> CostProfile:
    return CostProfile(
        input_shape=tuple(input_shape),
        batch_size=batch_size,
        flops={kind: value / examples for kind, value in counts.flops.items()},
        bytes={kind: value / examples for kind, value in counts.bytes.items()},
        kernels=dict(counts.kernels),
        weight_bytes=counts.weight_bytes,
        parameters=parameters,
        depth=counts.depth,
        unaligned_flops=counts.unaligned_flops / examples,
        unaligned_bytes=counts.unaligned_bytes / examples,
    )
