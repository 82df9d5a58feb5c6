"""Layers on the CPU by other kernels: the same values, gradients and statistics, nothing left behind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from greennas.training.kernels import quick_kernels


def images(channels: int, batch: int = 4, side: int = 8) -> Tensor:
    torch.manual_seed(0)
    return (3 * torch.randn(batch, channels, side, side) + 1).to(memory_format=torch.channels_last)


def outcome(layer: nn.Module, x: Tensor, gradient: Tensor, quick: bool) -> list[Tensor]:
    """What ``layer`` gives of a copy of ``x``, the gradients, and the buffers after it."""
    layer, x = copy.deepcopy(layer), x.clone().requires_grad_()
    if quick:
        with quick_kernels(layer):
            y = layer(x * 1)
    else:
        y = layer(x * 1)
    found = torch.autograd.grad(y, [x, *layer.parameters()], gradient)
    return [y, *found, *layer.buffers()]


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("channels", [1, 5, 7, 8])
def test_batch_norm_is_pytorchs_with_its_statistics(channels: int, momentum: float | None) -> None:
    norm = nn.BatchNorm2d(channels, momentum=momentum)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    for batch, side in ((4, 8), (6, 6), (3, 5)):  # rows of 32 and of 8 pixels, and one image too odd for rows
        x, gradient = images(channels, batch, side), images(channels, batch, side).square()
        for expected, quick in zip(*(outcome(norm, x, gradient, quick) for quick in (False, True)), strict=True):
            torch.testing.assert_close(quick, expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_of_few_channels_is_the_quick_one_and_only_in_training() -> None:
    def runs_quickly(norm: nn.Module, x: Tensor) -> bool:
        with quick_kernels(nn.Sequential(norm)):
            return "_BatchNorm" in type(norm(x).grad_fn).__name__

    assert runs_quickly(nn.BatchNorm2d(5), images(5))
    assert not runs_quickly(nn.BatchNorm2d(5).eval(), images(5))
    assert not runs_quickly(nn.BatchNorm2d(8), images(8))
    assert not runs_quickly(nn.BatchNorm2d(5), images(5).contiguous())
    assert not runs_quickly(nn.BatchNorm2d(5, track_running_stats=False), images(5))


@pytest.mark.parametrize("layer", [nn.ReLU6(inplace=True), nn.Hardtanh(-0.5, 2, inplace=True), nn.ReLU6()])
def test_a_clamp_in_place_changes_its_input_without_a_copy_of_it(layer: nn.Module) -> None:
    x, gradient = images(8), images(8).square()
    for expected, quick in zip(*(outcome(layer, x, gradient, quick) for quick in (False, True)), strict=True):
        assert torch.equal(quick, expected)
    before = x.clone().requires_grad_() * 1
    with quick_kernels(layer):
        after = layer(before)
    assert (after.data_ptr() == before.data_ptr()) == layer.inplace
    assert ("_Clamp" in type(after.grad_fn).__name__) == layer.inplace


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("channels", [(48, 8), (17, 16), (5, 1)])
def test_convolutions_to_few_channels_are_pytorchs(channels: tuple[int, int], bias: bool) -> None:
    layer = nn.Conv2d(*channels, 1, bias=bias).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, gradient = images(channels[0]), images(channels[1])
    for expected, quick in zip(*(outcome(layer, x, gradient, quick) for quick in (False, True)), strict=True):
        torch.testing.assert_close(quick, expected, rtol=1e-5, atol=1e-4)


def test_float32_images_in_bfloat16_go_through_pytorchs_layers() -> None:
    """As after a LayerScale: a float32 parameter times bfloat16 activations is float32."""
    network = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Conv2d(24, 8, 1))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        expected, quick = (outcome(network, images(24), images(8).bfloat16(), quick) for quick in (False, True))
    assert all(torch.equal(*pair) for pair in zip(expected, quick, strict=True))


def test_only_convolutions_to_few_channels_are_the_quick_ones() -> None:
    def runs_quickly(layer: nn.Conv2d, x: Tensor) -> bool:
        with quick_kernels(nn.Sequential(layer)):
            return "_Pointwise" in type(layer(x).grad_fn).__name__

    assert runs_quickly(nn.Conv2d(24, 16, 1), images(24))
    assert runs_quickly(nn.Conv2d(24, 16, 1, padding="same"), images(24))
    for layer in (
        nn.Conv2d(24, 24, 1),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(24, 8, 3),
        nn.Conv2d(24, 8, 1, stride=2),
        nn.Conv2d(24, 8, 1, padding=1),
        nn.Conv2d(24, 8, 1, groups=2),
        nn.Conv2d(24, 8, 1).requires_grad_(False),
    ):
        assert not runs_quickly(layer, images(layer.in_channels))
    assert not runs_quickly(nn.Conv2d(24, 8, 1), images(24).contiguous())
    with torch.no_grad(), quick_kernels(nn.Sequential(layer := nn.Conv2d(24, 8, 1))):
        assert layer(images(24)).grad_fn is None


def test_norm_clamp_and_pool_follow_each_other() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU6(inplace=True), nn.MaxPool2d(3, 1, 1)
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = images(3)
    gradient = torch.rand_like(images(5))
    for expected, quick in zip(*(outcome(network, x, gradient, quick) for quick in (False, True)), strict=True):
        torch.testing.assert_close(quick, expected, rtol=1e-4, atol=1e-4)
    with quick_kernels(network):
        pass
    assert all("forward" not in vars(part) for part in network)
