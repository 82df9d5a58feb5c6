"""Zero-cost proxies of untrained networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from greennas.predictors import PredictorError, zero_cost_proxies


def network(width: int = 8, depth: int = 2) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def images() -> torch.Tensor:
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_wider_networks_tell_images_apart_better_and_let_more_flow() -> None:
    narrow, wide = zero_cost_proxies(network(2), images()), zero_cost_proxies(network(32), images())
    assert wide["nwot"] > narrow["nwot"]
    assert wide["synflow"] > narrow["synflow"]


def test_nwot_is_the_log_determinant_of_the_agreement_of_activations() -> None:
    """Two images whose two units of one layer agree half: kernel [[2, 1], [1, 2]], determinant 3."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
    assert isinstance(module[1], nn.Linear)
    with torch.no_grad():
        module[1].weight.copy_(torch.eye(2))
    batch = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).reshape(2, 1, 1, 2)
    assert zero_cost_proxies(module, batch)["nwot"] == pytest.approx(torch.tensor(3.0).log().item() / 2, rel=1e-4)


def test_synflow_sums_the_products_along_all_paths_in_each_layer() -> None:
    """Weights 2 and -3: the flow of the only path is 6 in each of the two layers."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        for weight, value in zip(module.parameters(), (2.0, -3.0), strict=True):
            weight.fill_(value)
    found = zero_cost_proxies(module, torch.randn(2, 1, 1, 1))
    assert found["synflow"] == pytest.approx(torch.tensor(12.0).log().item())


def test_the_module_is_left_as_it_is() -> None:
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    first = zero_cost_proxies(module, images())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert zero_cost_proxies(module, images()) == first


def test_bad_input_is_named() -> None:
    with pytest.raises(PredictorError, match="two or more images"):
        zero_cost_proxies(network(), images()[:1])
    with pytest.raises(PredictorError, match="activation functions as modules"):
        zero_cost_proxies(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), images())
