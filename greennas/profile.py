"""Cost profile of any network: what it costs on paper, from one walk over the meta device.

The walk runs the forward pass of training (``train`` mode) with tensors that have shapes but no
values, and sees every operator that PyTorch dispatches, whatever module or function it came from.
FLOPs are those of ``torch.utils.flop_counter`` (2 FLOPs a multiply-add; convolutions, matrix products
and attention; everything else 0). Kernels are dispatched operators; views and allocations launch none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from greennas.errors import InvalidArchitectureError

OP_KINDS: tuple[str, ...] = (
    "conv3x3",
    "conv1x1",
    "conv_large",
    "conv_depthwise",
    "linear",
    "norm",
    "activation",
    "pool",
    "elementwise",
    "other",
)
"""Kinds of operators. ``conv_large``: any other kernel; ``conv_depthwise``: any grouped convolution;
``linear``: matrix products and attention; ``pool``: pooling and reductions; ``elementwise``: arithmetic,
concatenation and copies; ``other``: the rest, such as indexing or work on weights alone."""

_WEIGHTED = frozenset({"conv3x3", "conv1x1", "conv_large", "conv_depthwise", "linear"})
_FLOP_KINDS = tuple(kind for kind in OP_KINDS if kind in _WEIGHTED)
_ALIGNMENT = 8  # channels: what vector units and tensor cores load at once

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
        """The same piece ``count`` times in a row, each with its own parameters."""
        if count == 1:
            return self
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
    try:
        walk = _walk(module, input_shape, examples, "meta")
    except Exception:
        try:
            walk = _walk(module, input_shape, examples, "cpu")
        except Exception as error:
            raise InvalidArchitectureError(
                f"The network does not run on input of shape {tuple(input_shape)} ({type(error).__name__}: {error}); "
                "check the input shape and the forward method."
            ) from error
    return CostProfile(
        input_shape=tuple(input_shape),
        batch_size=batch_size,
        flops={kind: value / examples for kind, value in walk.flops.items()},
        bytes={kind: value / examples for kind, value in walk.bytes.items()},
        kernels=walk.kernels,
        weight_bytes=walk.weight_bytes,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        depth=walk.depth,
        unaligned_flops=walk.unaligned_flops / examples,
        unaligned_bytes=walk.unaligned_bytes / examples,
    )


def _walk(module: nn.Module, input_shape: tuple[int, ...], examples: int, device: str) -> _Walk:
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    walk = _Walk(torch.device(device))
    with ExitStack() as stack:
        if device == "cpu":  # its fused attention and LSTM have no FLOP formula, their parts have
            stack.enter_context(torch.random.fork_rng(devices=[]))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False, allow_tf32=None))
        stack.enter_context(torch.device(device))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_stand_in(module, device))
        batch = torch.rand((examples, *input_shape), dtype=dtype)
        walk.mark(batch, 0)
        with walk:
            module(batch)
    return walk


@contextmanager
def _stand_in(module: nn.Module, device: str) -> Iterator[None]:
    """``module`` in training mode with copies of its tensors on ``device``; afterwards as it was.

    The attribute dictionaries are exchanged, so that what a forward pass assigns is undone as well.
    """
    copies: dict[int, Tensor] = {}

    def copied(tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
        for tensor in tensors.values():
            if tensor is not None and id(tensor) not in copies:
                copies[id(tensor)] = tensor.detach().to(device, copy=True)
        return {name: None if tensor is None else copies[id(tensor)] for name, tensor in tensors.items()}

    saved = [(child, child.__dict__) for child in module.modules()]
    try:
        for child, attributes in saved:
            child.__dict__ = {
                **attributes,
                "training": True,
                "_parameters": copied(attributes["_parameters"]),
                "_buffers": copied(attributes["_buffers"]),
            }
        yield
    finally:
        for child, attributes in saved:
            child.__dict__ = attributes


class _Walk(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up every operator dispatched inside; tensors that depend on the input carry their depth."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.flops = dict.fromkeys(OP_KINDS, 0.0)
        self.bytes = dict.fromkeys(OP_KINDS, 0.0)
        self.kernels = dict.fromkeys(OP_KINDS, 0)
        self.weight_bytes = 0.0
        self.depth = 0
        self.unaligned_flops = 0.0
        self.unaligned_bytes = 0.0

    def mark(self, tensor: Tensor, depth: int) -> None:
        """Note that ``tensor`` is an activation behind ``depth`` weighted operators."""
        tensor._greennas_depth = depth  # type: ignore[attr-defined]
        self.depth = max(self.depth, depth)
        if tensor._base is not None:  # written through a view, as in ``buffer[:, :3] = x``
            tensor._base._greennas_depth = depth  # type: ignore[attr-defined]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = self._here(tuple(args)), {key: self._here(value) for key, value in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        launches, name_kind, formula = _operator(func)
        inputs = list(_tensors((*args, *kwargs.values())))
        outputs = list(_tensors((result,)))
        depths = [tensor._greennas_depth for tensor in inputs if hasattr(tensor, "_greennas_depth")]
        if not launches:
            if depths:
                for tensor in outputs:
                    self.mark(tensor, max(depths))
            return result
        kind = _convolution_kind(args) if name_kind == "convolution" else name_kind
        if formula is not None:
            work = formula(*args, **kwargs, out_val=result)
            self.flops[kind] += work
            active = [tensor for tensor in inputs if hasattr(tensor, "_greennas_depth")]
            if depths and not all(map(_aligned, [*active, *outputs])):
                self.unaligned_flops += work
        elif not depths:
            kind = "other"  # work on weights, buffers or constants alone
        self.kernels[kind] += 1
        for tensor in inputs:
            self._move(kind, tensor, hasattr(tensor, "_greennas_depth"))
        for tensor in outputs[:1] if kind == "norm" else outputs:  # saved statistics are tiny and of the batch
            self._move(kind, tensor, bool(depths))
        for tensor in outputs:
            if depths:
                self.mark(tensor, max(depths) + (kind in _WEIGHTED))
        return result

    def _move(self, kind: str, tensor: Tensor, activation: bool) -> None:
        size = tensor.numel() * tensor.element_size()
        if activation:
            self.bytes[kind] += size
            if not _aligned(tensor):
                self.unaligned_bytes += size
        else:
            self.weight_bytes += size

    def _here(self, value: Any) -> Any:
        """``value`` with constants that live elsewhere (plain tensor attributes) moved to the walk's device."""
        if isinstance(value, Tensor):
            return value if value.device == self.device or value.dim() == 0 else value.to(self.device)
        if isinstance(value, (list, tuple)):
            return type(value)(self._here(item) for item in value)
        return value


def _aligned(tensor: Tensor) -> bool:
    """Whether the channels of an activation, the features of a sequence, are a multiple of 8."""
    if tensor.dim() < 2:
        return True
    return tensor.shape[-1 if tensor.dim() == 3 else 1] % _ALIGNMENT == 0


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


_FREE = ("empty", "new_empty", "_unsafe_view", "lift_fresh", "_local_scalar_dense", "resize_", "set_")
_COPIES = ("cat", "stack", "copy", "_to_copy", "clone", "native_dropout", "bernoulli", "fill", "zero", "constant_pad")
_NAME_PARTS = {
    "norm": ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"),
    "activation": ("elu", "glu", "silu", "mish", "sigmoid", "tanh", "hardswish", "softmax", "softplus", "shrink"),
    "pool": ("pool", "mean", "sum", "amax", "amin", "var", "std", "vector_norm", "argmax"),
}


@functools.cache
def _operator(func: Any) -> tuple[bool, str, Any]:
    """Whether ``func`` launches a kernel, its kind (or "convolution") and its FLOP formula."""
    name = str(func).split(".")[1] if "." in str(func) else str(func)
    packet = getattr(func, "_overloadpacket", None)
    launches = not (getattr(func, "is_view", False) or name.startswith(_FREE))
    formula = flop_registry.get(packet)
    if formula is not None:
        return launches, "convolution" if "convolution" in name else "linear", formula
    for kind, parts in _NAME_PARTS.items():
        if any(part in name for part in parts):
            return launches, kind, None
    if name.startswith(_COPIES) or torch.Tag.pointwise in getattr(func, "tags", ()):
        return launches, "elementwise", None
    return launches, "other", None


def _convolution_kind(args: Sequence[Any]) -> str:
    """Kind of ``aten.convolution(input, weight, bias, stride, padding, dilation, transposed, ..., groups)``."""
    if args[8] > 1:
        return "conv_depthwise"
    kernel = tuple(args[1].shape[2:])
    return {3: "conv3x3", 1: "conv1x1"}.get(kernel[0], "conv_large") if len(set(kernel)) == 1 else "conv_large"
