"""Pooling on the CPU with other kernels than PyTorch's, several times quicker on channels-last images."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LANES = 16
"""Floats in a vector register (AVX-512): PyTorch's channels-last kernels crawl where pixels have fewer channels."""
_Pair = tuple[int, int]
_BELOW_ZERO = -torch.finfo(torch.float32).tiny  # a smaller one reads as 0 where denormals are flushed


def suits(x: Tensor) -> bool:
    """Whether the kernels here take ``x``: channels-last float32 images (B, C, H, W) on the CPU, without autocast."""
    return (
        x.device.type == "cpu"
        and x.dtype is torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.ndim == 4
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def mean(pool: nn.AvgPool2d, x: Tensor) -> Tensor:
    """``pool``'s means of (B, C, H, W), those of stride 1 as a depthwise convolution; equal up to rounding."""
    kernel, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    if not suits(x) or stride != (1, 1) or pool.divisor_override is not None:
        return nn.AvgPool2d.forward(pool, x)
    sums = F.conv2d(x, _ones(x.shape[1], kernel), None, 1, padding, 1, x.shape[1])
    if pool.count_include_pad or padding == (0, 0):
        return sums.div_(kernel[0] * kernel[1])
    return sums.mul_(_shares(x.shape[1], (x.shape[2], x.shape[3]), kernel, padding))


def maximum(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    """``pool``'s maxima of (B, C, H, W), those of 3x3 at stride 1 axis by axis; equal in every bit.

    Where a gradient is wanted, only those of few channels: PyTorch's kernel takes as long for 5 channels as for 16.
    """
    wanted = x.requires_grad and torch.is_grad_enabled()
    if x.device.type == "cpu" and x.ndim == 4 and x.stride(1) == 1:  # of others' channels, as NAS-Bench-101 takes them
        x = x.contiguous(memory_format=torch.channels_last)
    shape = (_pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding), _pair(pool.dilation))
    if (
        shape != ((3, 3), (1, 1), (1, 1), (1, 1))
        or pool.return_indices
        or not suits(x)
        or (wanted and x.shape[1] >= LANES)
    ):
        result: Tensor = nn.MaxPool2d.forward(pool, x)
        return result
    if wanted:
        maxima: Tensor = _Maximum.apply(x)  # type: ignore[no-untyped-call]
        return maxima
    return _along(_along(x, 3), 2)


def global_mean(pool: nn.AdaptiveAvgPool2d, x: Tensor) -> Tensor:
    """``pool``'s means over all pixels of (B, C, H, W) as sums, divided; equal up to rounding.

    The gradient of PyTorch's mean is a whole feature map, and channels-first whatever the images were.
    """
    if pool.output_size not in (1, (1, 1)) or not suits(x):
        return nn.AdaptiveAvgPool2d.forward(pool, x)
    return x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])


class _Maximum(torch.autograd.Function):
    """Maxima of 3x3, rows first. The gradient goes to the first of equal pixels, line by line, as PyTorch's does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows = _along(x, 3)
        result = _along(rows, 2)
        ctx.save_for_backward(x, rows, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, rows, result = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return _back(_back(gradient, rows, result, 2), x, rows, 3)


def _along(x: Tensor, axis: int) -> Tensor:
    """Maxima of each pixel, the one before and the one behind."""
    inner, after = x.shape[axis] - 1, x.clone(memory_format=torch.channels_last)
    for start, source in ((1, 0), (0, 1)):
        part = after.narrow(axis, start, inner)
        torch.maximum(part, x.narrow(axis, source, inner), out=part)
    return after


def _back(gradient: Tensor, x: Tensor, maxima: Tensor, axis: int) -> Tensor:
    """The gradient of ``_along``: to the pixel before if it is the maximum, else to the one itself, else behind."""
    inner = x.shape[axis] - 1
    rest = gradient.clone(memory_format=torch.channels_last)
    behind = rest.narrow(axis, 1, inner)
    before = _where_equal(x.narrow(axis, 0, inner), maxima.narrow(axis, 1, inner), behind)
    behind.sub_(before)
    result = _where_equal(x, maxima, rest)
    rest.sub_(result)
    result.narrow(axis, 0, inner).add_(before)
    result.narrow(axis, 1, inner).add_(rest.narrow(axis, 0, inner))
    return result


def _where_equal(x: Tensor, maxima: Tensor, gradient: Tensor) -> Tensor:
    """``gradient`` where ``x`` is ``maxima`` (it is never above), else 0; masks of bools take several times as long."""
    return torch.ops.aten.threshold_backward(gradient, x - maxima, _BELOW_ZERO)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _ones(channels: int, kernel: _Pair) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(channels, 1, *kernel).contiguous(memory_format=torch.channels_last)


@functools.lru_cache(maxsize=64)
def _shares(channels: int, sides: _Pair, kernel: _Pair, padding: _Pair) -> Tensor:
    """One over the number of pixels under the kernel at each place: (1, C, H, W), channels last."""
    with torch.inference_mode(False):
        counts = F.conv2d(torch.ones(1, 1, *sides), torch.ones(1, 1, *kernel), padding=padding)
        return (1 / counts).repeat(1, channels, 1, 1).contiguous(memory_format=torch.channels_last)


def _pair(size: int | tuple[int, ...]) -> _Pair:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
