"""Pooling on the CPU with other kernels than PyTorch's, several times quicker on channels-last images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_Pair = tuple[int, int]


@contextmanager
def quick_pooling(module: nn.Module) -> Iterator[None]:
    """Let ``module``'s average pooling of stride 1 run as a depthwise convolution, its 3x3 maxima axis by axis.

    Means are equal up to rounding, maxima in every bit. PyTorch's kernels stay where they are as good: on a GPU, in
    bfloat16, for channels-first images, at other strides, and for maxima whose gradient is wanted.
    """
    quick: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {nn.AvgPool2d: _mean, nn.MaxPool2d: _maximum}
    patched = [part for part in module.modules() if type(part) in quick and "forward" not in vars(part)]
    for part in patched:
        part.forward = functools.partial(quick[type(part)], part)
    try:
        yield
    finally:
        for part in patched:
            del part.forward


def _mean(pool: nn.AvgPool2d, x: Tensor) -> Tensor:
    kernel, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    if not _suits(x) or stride != (1, 1) or pool.divisor_override is not None:
        return nn.AvgPool2d.forward(pool, x)
    sums = F.conv2d(x, _ones(x.shape[1], kernel), None, 1, padding, 1, x.shape[1])
    if pool.count_include_pad or padding == (0, 0):
        return sums.div_(kernel[0] * kernel[1])
    return sums.mul_(_shares(x.shape[1], (x.shape[2], x.shape[3]), kernel, padding))


def _maximum(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    kernel, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    if (
        not _suits(x)
        or (x.requires_grad and torch.is_grad_enabled())
        or (kernel, stride, padding, _pair(pool.dilation)) != ((3, 3), (1, 1), (1, 1), (1, 1))
        or pool.return_indices
    ):
        result: Tensor = nn.MaxPool2d.forward(pool, x)
        return result
    for axis in (2, 3):
        inner, before, after = x.shape[axis] - 1, x, x.clone(memory_format=torch.channels_last)
        for start, source in ((1, 0), (0, 1)):  # with the neighbour before, with the one behind
            part = after.narrow(axis, start, inner)
            torch.maximum(part, before.narrow(axis, source, inner), out=part)
        x = after
    return x


def _suits(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype is torch.float32
        and x.ndim == 4
        and x.is_contiguous(memory_format=torch.channels_last)
    )


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
