"""The cost profile of networks of every kind, against FlopCounterMode and figures worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from profiled_networks import (
    ConvNeXtBlock,
    DenseNet,
    Recurrent,
    Residual,
    UNet,
    ViT,
    conv,
    lenet,
    mlp,
    mobilenet_v2,
    resnet18,
    resnet50,
    squeezenet,
    vgg,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from greennas.errors import GreenNASError, InvalidArchitectureError
from greennas.profile import FEATURE_NAMES, CostProfile, profile, profile_stages
from greennas.walk import OP_KINDS

NETWORKS: dict[str, Any] = {
    "LeNet": lenet,
    "VGG": vgg,
    "ResNet-18": resnet18,
    "ResNet-50": resnet50,
    "MobileNetV2": mobilenet_v2,
    "DenseNet": DenseNet,
    "ViT": ViT,
    "SqueezeNet": squeezenet,
    "ConvNeXt": ConvNeXtBlock,
    "MLP": mlp,
    "U-Net": UNet,
    "LSTM": Recurrent,
    "Transformer": lambda: nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(1024, 8, 64, batch_first=True)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_flops_equal_flop_counter_mode(name: str) -> None:
    network = NETWORKS[name]()
    found = profile(network, (3, 32, 32), batch_size=4)
    counter = FlopCounterMode(display=False)
    # On the meta device, since FlopCounterMode has no formula for the CPU's fused attention and LSTM.
    with torch.device("meta"), counter:
        network.to("meta").train()(torch.rand(4, 3, 32, 32))
    assert counter.get_total_flops() > 0
    assert found.total_flops * 4 == counter.get_total_flops()
    assert found.training_flops == 3 * found.total_flops
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_flops_equal_flop_counter_mode_on_a_real_forward_pass() -> None:
    network = resnet18()
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.rand(2, 3, 32, 32))
    assert profile(network, (3, 32, 32)).total_flops * 2 == counter.get_total_flops()


def test_every_figure_of_a_small_network_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.Flatten(), nn.Linear(8 * 16, 10),
    )  # fmt: skip
    found = profile(network, (3, 8, 8), batch_size=16)
    image, maps, pooled = 4 * 3 * 64, 4 * 8 * 64, 4 * 8 * 16
    assert found.input_shape == (3, 8, 8)
    assert found.batch_size == 16
    nonzero = {kind: value for kind, value in found.flops.items() if value}
    assert nonzero == {"conv3x3": 2 * 64 * 8 * 27, "conv_depthwise": 2 * 16 * 8 * 25, "linear": 2 * 128 * 10}
    assert {kind: value for kind, value in found.bytes.items() if value} == {
        "conv3x3": image + maps,
        "norm": 2 * maps,
        "activation": 2 * maps,
        "pool": maps + pooled + 2 * pooled,  # 8 bytes an index
        "conv_depthwise": 2 * pooled,
        "linear": pooled + 40,
    }
    # The norm's batch counter is a launch of its own; flattening is a view.
    assert {kind: count for kind, count in found.kernels.items() if count} == {
        "conv3x3": 1, "norm": 1, "activation": 1, "pool": 1, "conv_depthwise": 1, "linear": 1, "other": 1,
    }  # fmt: skip
    assert found.parameters == 8 * 27 + 8 + 16 + 8 * 25 + 8 + 1290
    assert found.weight_bytes == 4 * (found.parameters + 16) + 16  # running mean and variance; counter read and written
    assert found.depth == 3
    assert found.activation_bytes == sum(found.bytes.values())
    assert found.num_kernels == 7


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Conv2d(4, 4, 3), "conv3x3"),
        (nn.Conv2d(4, 4, 1), "conv1x1"),
        (nn.Conv2d(4, 4, (1, 3)), "conv_large"),
        (nn.Conv2d(4, 4, 5), "conv_large"),
        (nn.Conv2d(4, 4, 3, groups=2), "conv_depthwise"),
        (nn.ConvTranspose2d(4, 4, 2), "conv_large"),
        (nn.Linear(8, 8), "linear"),
        (nn.GroupNorm(2, 4), "norm"),
        (nn.SiLU(), "activation"),
        (nn.Softmax(1), "activation"),
        (nn.AvgPool2d(2), "pool"),
        (nn.AdaptiveAvgPool2d(1), "pool"),
        (nn.Dropout(0.5), "elementwise"),
        (nn.ZeroPad2d(1), "elementwise"),
        (nn.Upsample(scale_factor=2), "other"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_kind_of_operator(layer: nn.Module, kind: str) -> None:
    kernels = profile(layer, (4, 8, 8)).kernels
    assert {name for name, count in kernels.items() if count} == {kind}


def test_depth_is_the_longest_path() -> None:
    short, long = nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    assert profile(Residual(long, short), (4, 8, 8)).depth == 2
    assert profile(nn.Sequential(Residual(long, short), short), (4, 8, 8)).depth == 3


def test_depth_passes_through_writes_into_a_buffer() -> None:
    class Into(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            both = torch.zeros(len(x), 8, 8, 8)
            both[:, :4] = x
            both[:, 4:] = self.one(x)
            return self.two(both)

    assert profile(Into(), (4, 8, 8)).depth == 2


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(16, 16)
    found = profile(nn.Sequential(layer, nn.ReLU(), layer), (16,))
    assert found.parameters == 16 * 17
    assert found.total_flops == 2 * 2 * 16 * 16
    assert found.depth == 2


class Careless(nn.Module):
    """Assigns in its forward pass, keeps a plain tensor, makes random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear, self.scale, self.calls = nn.BatchNorm1d(8), nn.Linear(8, 8), torch.rand(8), 0
        self.cache: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.cache = x * self.scale
        return F.dropout(self.linear(self.norm(self.cache)) + torch.rand(8), 0.5, self.training)


@pytest.mark.parametrize("values_needed", [False, True])
def test_module_and_random_state_are_left_unchanged(values_needed: bool) -> None:
    class Network(Careless):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if not values_needed or x.sum().item() > -1 else x

    network = Network().eval()
    network.linear.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    parameters = list(network.parameters())
    state = torch.random.get_rng_state()
    assert profile(network, (8,)).total_flops == 128
    assert torch.equal(torch.random.get_rng_state(), state)
    assert network.calls == 0
    assert network.cache is None
    assert (network.training, network.norm.training, network.linear.training) == (False, False, True)
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network(torch.rand(2, 8)).shape == (2, 8)


def test_forward_that_needs_values_is_run_on_the_cpu() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit, self.lstm = ViT(), Recurrent()

        def forward(self, x: Tensor) -> Tensor:
            return self.vit(x) + self.lstm(x) if x.mean() > 0 else x

    network = Picky()
    apart = CostProfile.combine([profile(network.vit, (3, 32, 32)), profile(network.lstm, (3, 32, 32))])
    together = profile(network, (3, 32, 32))
    assert together.flops == apart.flops
    assert together.parameters == apart.parameters
    assert together.depth == max(profile(part, (3, 32, 32)).depth for part in (network.vit, network.lstm))


def test_profile_is_of_training_and_per_example() -> None:
    network = nn.Sequential(conv(3, 8, 3, 2), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    one, many = profile(network.eval(), (3, 8, 8), 1), profile(network.train(), (3, 8, 8), 100)
    assert (one.flops, one.bytes, one.kernels, one.weight_bytes) == (
        many.flops, many.bytes, many.kernels, many.weight_bytes,
    )  # fmt: skip
    assert (one.batch_size, many.batch_size) == (1, 100)
    assert one.kernels["elementwise"] > 0  # the dropout


def test_single_values_per_channel_pass_batch_norm() -> None:
    assert profile(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (4,), batch_size=1).total_flops == 32


def test_lazy_layers_have_a_profile() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(10))
    lazy[3].eval()
    whole = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 10))
    assert profile(lazy, (3, 8, 8), 4) == profile(whole, (3, 8, 8), 4)
    assert [layer.training for layer in lazy] == [True, True, True, False]
    assert (lazy[1].running_mean == 0).all()


def test_a_network_on_the_meta_device_has_a_profile() -> None:
    with torch.device("meta"):
        network = lenet()
    assert profile(network, (3, 32, 32)) == profile(lenet(), (3, 32, 32))


def test_combine_and_times_equal_the_walk_of_the_whole() -> None:
    block, head = conv(4, 4), nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    whole = nn.Sequential(conv(4, 4), conv(4, 4), conv(4, 4), head)
    pieces = [profile(block, (4, 8, 8), 5).times(3), profile(head, (4, 8, 8), 5)]
    assert CostProfile.combine(pieces) == profile(whole, (4, 8, 8), 5)
    assert CostProfile.combine(pieces, depth=2).depth == 2


@pytest.mark.parametrize("sizes", [(), (1, 2)])
def test_combine_needs_one_batch_size(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="same batch size"):
        CostProfile.combine([profile(nn.Linear(2, 2), (2,), size) for size in sizes])


def test_json_round_trip() -> None:
    found = profile(vgg(), (3, 32, 32), 7)
    assert CostProfile.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("data", [{}, {"input_shape": 3}, {"input_shape": [3], "speed": 1}])
def test_wrong_json_is_an_error_with_a_sentence(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidArchitectureError, match="Not a cost profile"):
        CostProfile.from_json(data)


def test_features_are_the_figures_in_order() -> None:
    found = profile(resnet18(), (3, 32, 32), 8)
    features = dict(zip(FEATURE_NAMES, found.features(), strict=True))
    assert found.features().dtype == np.float64
    assert all(features[f"bytes_{kind}"] == found.bytes[kind] for kind in OP_KINDS)
    assert all(features[f"kernels_{kind}"] == found.kernels[kind] for kind in OP_KINDS)
    assert features["flops_conv3x3"] == found.flops["conv3x3"]
    assert features["total_flops"] == found.total_flops
    assert features["parameters"] == found.parameters
    assert features["depth"] == found.depth == 18
    assert features["batch_size"] == 8
    assert features["input_values"] == 3 * 32 * 32


def test_wrong_input_shape_is_an_error_with_a_sentence() -> None:
    with pytest.raises(GreenNASError, match=r"does not run on input of shape \(1, 8, 8\).*check the input shape"):
        profile(lenet(), (1, 8, 8))


def test_channels_that_are_no_multiple_of_8_are_told_apart() -> None:
    network = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.Conv2d(16, 12, 1, bias=False), nn.Flatten())
    found = profile(network, (8, 4, 4), 4)
    assert found.unaligned_flops == 2 * 16 * 16 * 12
    assert found.unaligned_bytes == 4 * 16 * 12
    aligned = profile(nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU()), (8, 4, 4))
    assert aligned.unaligned_flops == aligned.unaligned_bytes == 0
    tokens = profile(nn.Linear(16, 8), (5, 16))
    assert tokens.unaligned_bytes == 0


def test_stages_add_up_to_the_whole_and_stand_in_the_order_of_their_run() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 10)
            self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
            self.stem = nn.Conv2d(3, 4, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            x = self.body(self.body(x)) + x * self.scale
            return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))

    module = Network()
    whole, stages = profile(module, (3, 8, 8), 4), profile_stages(module, (3, 8, 8), 4)
    assert list(stages) == ["stem", "body", "head", ""]
    assert stages["body"].total_flops == 2 * 2 * 4 * 4 * 9 * 64  # runs twice
    assert [stages[name].depth for name in ("stem", "body", "head")] == [1, 2, 1]
    assert stages[""].total_flops == 0 < stages[""].activation_bytes
    for figure in ("total_flops", "activation_bytes", "weight_bytes", "num_kernels", "parameters", "depth"):
        assert sum(getattr(stage, figure) for stage in stages.values()) == pytest.approx(getattr(whole, figure))
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.children())
    with pytest.raises(InvalidArchitectureError, match="does not run on input"):
        profile_stages(module, (5, 8, 8))


def test_a_part_that_another_part_calls_counts_there() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(6, 6)
            self.outer = nn.Sequential(self.shared, nn.ReLU(), self.shared)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.outer(self.shared(x))

    stages = profile_stages(Network(), (6,), 2)
    assert stages["shared"].total_flops == 2 * 36
    assert stages["outer"].total_flops == 2 * 2 * 36
    assert "" not in stages or stages[""].total_flops == 0
