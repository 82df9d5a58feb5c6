"""Layers on the CPU with other kernels than PyTorch's, while a network is trained or evaluated here."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from greennas.training.pooling import LANES, global_mean, maximum, mean, suits

_FEW_CHANNELS = 8
_LEAST_PIXELS, _MOST_PIXELS = 8, 32
"""Batch norm of fewer than 8 channels is done in rows of 8 to 32 pixels; PyTorch's takes as long for 5 as for 8."""


@contextmanager
def quick_kernels(module: nn.Module) -> Iterator[None]:
    """Let layers of ``module`` run by quicker kernels: the same functions, up to rounding.

    Pooling as in ``greennas/training/pooling.py``, batch norm of few channels in training mode and convolutions 1x1 to
    few channels as below, and ReLU6 in place without a copy. PyTorch's kernels stay where they are as good: on a GPU,
    in bfloat16, on channels-first images.
    """
    quick: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
        nn.AvgPool2d: mean,
        nn.MaxPool2d: maximum,
        nn.AdaptiveAvgPool2d: global_mean,
        nn.BatchNorm2d: _batch_norm,
        nn.Conv2d: _convolution,
        nn.ReLU6: _clamp,
        nn.Hardtanh: _clamp,
    }
    patched = [part for part in module.modules() if type(part) in quick and "forward" not in vars(part)]
    for part in patched:
        part.forward = functools.partial(quick[type(part)], part)
    try:
        yield
    finally:
        for part in patched:
            del part.forward


def _clamp(layer: nn.Hardtanh, x: Tensor) -> Tensor:
    if layer.inplace and x.device.type == "cpu" and x.requires_grad and not x.is_leaf and torch.is_grad_enabled():
        result: Tensor = _Clamp.apply(x, layer.min_val, layer.max_val)  # type: ignore[no-untyped-call]
        return result
    return nn.Hardtanh.forward(layer, x)


class _Clamp(torch.autograd.Function):
    """Clamps in place. PyTorch copies its input first, though the result says as well where it was clamped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.bounds = low, high
        ctx.mark_dirty(x)
        x.clamp_(low, high)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, result, *ctx.bounds), None, None


def _convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    pointwise = layer.kernel_size == layer.stride == (1, 1) and layer.padding in ((0, 0), 0, "valid", "same")
    few = layer.groups == 1 and layer.out_channels <= LANES and layer.out_channels < layer.in_channels
    if not (pointwise and few and layer.weight.requires_grad and torch.is_grad_enabled() and suits(x)):
        return nn.Conv2d.forward(layer, x)
    result: Tensor = _Pointwise.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return result


class _Pointwise(torch.autograd.Function):
    """Convolution 1x1 (C channels to K) whose weights' gradient is taken as that of one from K channels to C.

    The two are each other's transpose, and oneDNN's kernel takes several times as long where K is small.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _gradients(gradient, x, weight, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            of_transpose = _gradients(x, gradient, weight.transpose(0, 1), (False, True, False))[1]
            of_weight = of_transpose.transpose(0, 1).contiguous()
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias


def _gradients(gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> tuple[Tensor, ...]:
    """Of a convolution 1x1's input, weights and bias."""
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1, wanted
    )
    return found


def _batch_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch norm of images as a matrix whose rows are several pixels, so that few channels fill a vector, too."""
    average, variance, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    count = x.numel() // x.shape[1] if suits(x) and x.shape[1] < _FEW_CHANNELS else 1
    pixels = math.gcd(count, _MOST_PIXELS)
    if (
        pixels < _LEAST_PIXELS
        or not norm.training
        or not norm.affine
        or average is None
        or variance is None
        or batches is None
    ):
        return nn.BatchNorm2d.forward(norm, x)
    result: Tensor
    result, this_average, this_variance = _BatchNorm.apply(x, norm.weight, norm.bias, norm.eps, pixels)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        batches.add_(1)
        share = 1 / batches.item() if norm.momentum is None else norm.momentum
        average.lerp_(this_average, share)
        variance.lerp_(this_variance * (count / (count - 1)), share)
    return result


class _BatchNorm(torch.autograd.Function):
    """Batch norm by the batch's statistics: the result (B, C, H, W), means and variances (C,) of the channels."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, pixels: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = _rows(x, pixels)
        average = _channel_means(rows, pixels)
        centred = rows - average.repeat(pixels)
        variance = _channel_means(centred * centred, pixels)
        inverse = torch.rsqrt(variance + eps)
        scale = weight * inverse
        result = torch.empty_like(x)
        torch.addcmul(bias.repeat(pixels), centred, scale.repeat(pixels), out=_rows(result, pixels))
        ctx.save_for_backward(centred, inverse, scale)
        ctx.pixels = pixels
        ctx.mark_non_differentiable(average, variance)
        return result, average, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, of_average: Tensor, of_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        centred, inverse, scale = ctx.saved_tensors
        pixels = ctx.pixels
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        rows = _rows(gradient, pixels)
        common = _channel_means(rows, pixels)
        along = _channel_means(rows * centred, pixels) * inverse
        result = torch.empty_like(gradient)
        torch.addcmul((-common).repeat(pixels), centred, (-along * inverse).repeat(pixels), out=_rows(result, pixels))
        _rows(result, pixels).add_(rows).mul_(scale.repeat(pixels))
        count = gradient.numel() // gradient.shape[1]
        return result, along * count, common * count, None, None


def _rows(x: Tensor, pixels: int) -> Tensor:
    """(B, C, H, W), channels last, as rows of ``pixels`` times C; a view."""
    return x.permute(0, 2, 3, 1).view(-1, pixels * x.shape[1])


def _channel_means(rows: Tensor, pixels: int) -> Tensor:
    """Means (C,) of each channel over such rows."""
    return rows.sum(0).view(pixels, -1).sum(0).div_(len(rows) * pixels)
