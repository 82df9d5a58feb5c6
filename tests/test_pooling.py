"""Pooling on the CPU by other kernels: the same values, the same gradients, nothing left behind."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import torch
from torch import Tensor, nn

from greennas.training.kernels import quick_kernels

POOLS = {
    "mean": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "mean of zeros, too": nn.AvgPool2d((5, 3), 1, (2, 1)),
    "mean without padding": nn.AvgPool2d(2, 1),
    "strided mean": nn.AvgPool2d(2, 2, ceil_mode=True),
    "mean of all": nn.AdaptiveAvgPool2d(1),
    "mean of halves": nn.AdaptiveAvgPool2d(2),
    "sum": nn.AvgPool2d(3, 1, 1, divisor_override=1),
    "maximum": nn.MaxPool2d(3, 1, 1),
    "strided maximum": nn.MaxPool2d(2, 2, ceil_mode=True),
    "wide maximum": nn.MaxPool2d(5, 1, 2),
}


def images(dtype: torch.dtype = torch.float32, size: int = 9, channels: int = 8) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(4, channels, size, size - 2).to(dtype, memory_format=torch.channels_last)


def both(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    expected = pool(x)
    with quick_kernels(pool):
        return expected, pool(x)


@pytest.mark.parametrize("name", POOLS)
def test_values_and_gradients_are_pytorchs(name: str) -> None:
    pool = POOLS[name]
    for size, dtype, channels in itertools.product((4, 9), (torch.float32, torch.bfloat16), (1, 8)):
        x = images(dtype, size, channels)
        with torch.inference_mode():
            expected, quick = both(pool, x)
            torch.testing.assert_close(quick, expected)
            if "maximum" in name:
                assert torch.equal(quick, expected)
        gradients = []
        for each in both(pool, x.requires_grad_()):
            gradients.append(torch.autograd.grad(each.square().sum(), x)[0])
        torch.testing.assert_close(*gradients)


def test_a_mean_is_a_convolution_only_while_it_is_asked_for() -> None:
    pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    x = images().requires_grad_()
    with contextlib.suppress(ZeroDivisionError), quick_kernels(nn.Sequential(pool)):
        assert "Mul" in type(pool(x).grad_fn).__name__
        raise ZeroDivisionError
    assert "AvgPool" in type(pool(x).grad_fn).__name__
    assert vars(pool).keys() == vars(nn.AvgPool2d(3, 1, 1)).keys()


def test_pools_with_a_forward_of_their_own_keep_it() -> None:
    class Doubled(nn.AvgPool2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    expected, quick = both(Doubled(3, 1, 1), images())
    assert torch.equal(expected, quick)


@pytest.mark.parametrize("channels", [1, 5, 10])
def test_of_equal_pixels_the_first_has_the_gradient_as_in_pytorch(channels: int) -> None:
    """Behind a ReLU many pixels are equal; some channels of others are not dense."""
    torch.manual_seed(0)
    pool = nn.MaxPool2d(3, 1, 1)
    whole = torch.randint(-3, 3, (4, channels + 1, 9, 7)).float().relu()
    for x in (whole.to(memory_format=torch.channels_last)[:, :channels], whole[:, :channels].contiguous()):
        gradient = torch.randint(-9, 9, x.shape).float()  # whole numbers add up alike in every order
        gradients = []
        for y in both(pool, x.requires_grad_()):
            gradients.append(torch.autograd.grad(y, x, gradient)[0])
        assert torch.equal(*gradients)


def test_gradients_of_maxima_are_pytorchs_where_denormals_are_flushed() -> None:
    x = images().requires_grad_()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps denormals")
    try:
        gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in both(nn.MaxPool2d(3, 1, 1), x)]
    finally:
        torch.set_flush_denormal(False)
    torch.testing.assert_close(*gradients)


def test_maxima_of_few_channels_have_a_kernel_of_their_own_in_training() -> None:
    pool = nn.MaxPool2d(3, 1, 1)
    for channels, quick in ((5, True), (16, False)):
        y = both(pool, images(channels=channels).requires_grad_())[1]
        assert ("_Maximum" in type(y.grad_fn).__name__) == quick


def test_the_gradient_of_a_mean_of_all_is_no_feature_map() -> None:
    for pool in (nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 1))):
        x = images().requires_grad_()
        before, quick = (torch.autograd.grad(y.sum(), x)[0] for y in both(pool, x))
        torch.testing.assert_close(quick, before)
        assert (before.stride(1), quick.stride(1)) == (63, 1)
        assert "Div" in type(both(pool, x)[1].grad_fn).__name__
