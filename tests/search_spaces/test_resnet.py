"""The ResNet space holds the published networks, their stems apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from greennas.space import load_space

SPACE = load_space("resnet")
STEM_7X7 = 3 * 64 * 49 + 128  # parameters of the published stem, where the space has convolutions 3x3


def network_of(blocks: tuple[int, ...], kind: str, groups: int = 1) -> dict[str, Any]:
    return {
        f"stage {stage} {name}": value
        for stage, count in enumerate(blocks, start=1)
        for name, value in (("blocks", count), ("block", kind), ("multiplier", 1.0), ("groups", groups))
    }


@pytest.mark.parametrize(
    ("blocks", "kind", "parameters", "depth"),
    [
        ((2, 2, 2, 2), "basic", 11_689_512, 18),
        ((3, 4, 6, 3), "basic", 21_797_672, 34),
        ((3, 4, 6, 3), "bottleneck", 25_557_032, 50),
    ],
)
def test_published_networks(blocks: tuple[int, ...], kind: str, parameters: int, depth: int) -> None:
    found = SPACE.profile(network_of(blocks, kind), (3, 224, 224), 1000)
    stem = SPACE.build(network_of(blocks, kind), (3, 224, 224), 1000)[0]  # type: ignore[index]
    in_stem = sum(parameter.numel() for parameter in stem.parameters())
    assert found.parameters - in_stem == parameters - STEM_7X7
    assert found.depth == depth + 1  # the stem has two convolutions, not one


def test_groups_divide_the_work_of_the_3x3_convolutions() -> None:
    plain, grouped = (SPACE.profile(network_of((2, 2, 2, 2), "bottleneck", groups)) for groups in (1, 4))
    assert grouped.flops["conv1x1"] == plain.flops["conv1x1"]
    stem = 2 * 32 * 32 * 3 * 64 * 9
    assert plain.flops["conv_depthwise"] == 0
    assert grouped.flops["conv_depthwise"] == (plain.flops["conv3x3"] - stem) / 4


def test_blocks_are_as_many_as_suggested() -> None:
    network = SPACE.build(network_of((1, 2, 3, 4), "basic"), (3, 32, 32), 10)
    assert sum(type(layer).__name__ == "Residual" for layer in network.modules()) == 10
    assert all(layer.momentum == 0.1 for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_projections_are_those_of_strided_convolutions_without_one(kind: str, side: int) -> None:
    """Strided 1x1 convolutions of few channels crash on CPUs at large images (oneDNN issue 6035)."""
    space = load_space("resnet", width=8)
    torch.manual_seed(0)
    network = space.build(network_of((1, 1, 1, 1), kind), (3, side, side), 10).eval()
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert not [layer for layer in convolutions if layer.kernel_size == (1, 1) and layer.stride != (1, 1)]
    block = next(
        layer for layer in network.modules() if getattr(layer, "stride", None) == 2 and hasattr(layer, "shortcut")
    )
    convolution, norm = block.shortcut
    x = torch.randn(2, convolution.in_channels, side, side)
    published = norm(F.conv2d(x, convolution.weight, stride=2))
    expected = F.relu(block.layers(x) + published)
    assert expected.shape[-1] == (side + 1) // 2
    torch.testing.assert_close(block(x), expected)


def test_size_counts_the_parameter_sets() -> None:
    assert load_space("resnet", depth=2).size == (2 * 2 * 4 * 4) ** 4
