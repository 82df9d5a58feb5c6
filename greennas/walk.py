"""A forward pass run with tensors that have shapes but no values, and every operator that it dispatches, counted."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

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

WEIGHTED = frozenset({"conv3x3", "conv1x1", "conv_large", "conv_depthwise", "linear"})
_ALIGNMENT = 8  # channels: what vector units and tensor cores load at once


@dataclass
class Counts:
    """What operators did, of a whole batch.

    Attributes:
        flops: floating-point operations by kind.
        bytes: bytes of activations read and written, by kind.
        kernels: operators that launch work, by kind.
        weight_bytes: bytes of weights, buffers and constants read and written.
        depth: weighted operators on the longest path so far.
        unaligned_flops: FLOPs on activations whose channels are no multiple of 8.
        unaligned_bytes: bytes of such activations.
    """

    flops: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OP_KINDS, 0.0))
    bytes: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OP_KINDS, 0.0))
    kernels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OP_KINDS, 0))
    weight_bytes: float = 0.0
    depth: int = 0
    unaligned_flops: float = 0.0
    unaligned_bytes: float = 0.0

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return self._with(other, operator.add)

    def minus(self, other: Counts) -> Counts:
        """What was done beyond ``other``."""
        return self._with(other, operator.sub)

    def _with(self, other: Counts, combine: Callable[[Any, Any], Any]) -> Counts:
        found: dict[str, Any] = {}
        for name, mine in vars(self).items():
            theirs = getattr(other, name)
            by_kind = isinstance(mine, dict)
            found[name] = {k: combine(v, theirs[k]) for k, v in mine.items()} if by_kind else combine(mine, theirs)
        return Counts(**found)


def materialise(module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Give lazy layers, such as ``nn.LazyLinear``, their weights by a forward pass; leave other modules alone."""
    tensors = [*module.parameters(), *module.buffers()]
    if not any(map(is_lazy, tensors)):
        return
    first = next(tensor for tensor in tensors if tensor.is_floating_point())
    modes = [(part, part.training) for part in module.modules()]
    module.eval()  # batch norm's statistics stay as they are
    try:
        with torch.no_grad():
            module(torch.zeros((2, *input_shape), dtype=first.dtype, device=first.device))
    finally:
        for part, training in modes:
            part.training = training


def walk_module(
    module: nn.Module, input_shape: tuple[int, ...], examples: int, device: str, stages: bool = False
) -> tuple[Counts, dict[str, Counts]]:
    """What a forward pass in training does, and what the direct parts of ``module`` do of it, where asked for.

    Args:
        module: any network; it is left as it was, apart from lazy layers, which get their weights.
        input_shape: shape of one example.
        examples: size of the batch.
        device: ``meta``, or ``cpu`` for a forward pass that needs the values of its tensors.
        stages: whether to tell the parts apart.
    """
    materialise(module, input_shape)
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
        parts = stack.enter_context(_told_apart(module, walk)) if stages else {}
        with walk:
            module(batch)
    return walk.counts, parts


@contextmanager
def _told_apart(module: nn.Module, walk: _Walk) -> Iterator[dict[str, Counts]]:
    """Counts of each direct part of ``module``, filled while it runs; a part that another part calls counts there."""
    found: dict[str, Counts] = {}
    before: list[Counts] = []
    handles = []
    for name, child in module.named_children():

        def begin(*_: Any) -> None:
            before.append(copy.deepcopy(walk.counts))

        def end(*_: Any, name: str = name) -> None:
            began = before.pop()
            if not before:
                spent = walk.counts.minus(began)
                found[name] = found[name].plus(spent) if name in found else spent

        handles += [child.register_forward_pre_hook(begin), child.register_forward_hook(end)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


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
        self.counts = Counts()

    def mark(self, tensor: Tensor, depth: int) -> None:
        """Note that ``tensor`` is an activation behind ``depth`` weighted operators."""
        tensor._greennas_depth = depth  # type: ignore[attr-defined]
        self.counts.depth = max(self.counts.depth, depth)
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
            self.counts.flops[kind] += work
            active = [tensor for tensor in inputs if hasattr(tensor, "_greennas_depth")]
            if depths and not all(map(_aligned, [*active, *outputs])):
                self.counts.unaligned_flops += work
        elif not depths:
            kind = "other"  # work on weights, buffers or constants alone
        self.counts.kernels[kind] += 1
        for tensor in inputs:
            self._move(kind, tensor, hasattr(tensor, "_greennas_depth"))
        for tensor in outputs[:1] if kind == "norm" else outputs:  # saved statistics are tiny and of the batch
            self._move(kind, tensor, bool(depths))
        for tensor in outputs:
            if depths:
                self.mark(tensor, max(depths) + (kind in WEIGHTED))
        return result

    def _move(self, kind: str, tensor: Tensor, activation: bool) -> None:
        size = tensor.numel() * tensor.element_size()
        if activation:
            self.counts.bytes[kind] += size
            if not _aligned(tensor):
                self.counts.unaligned_bytes += size
        else:
            self.counts.weight_bytes += size

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
