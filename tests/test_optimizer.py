"""Muon: the steps it makes, what it leaves to SGD, and that short trainings gain by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from greennas.data import Dataset
from greennas.errors import ConfigError, TrainingError
from greennas.trainer import TrainingPlan, train
from greennas.training.loop import TrainingLoop
from greennas.training.optimizer import MUON_SHARE, optimizer_of, orthogonalised

PLAN = TrainingPlan(epochs=1, batch_size=64, learning_rate=0.1, precision="float32", optimizer="muon")


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_all_directions_count_about_alike(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape) * torch.tensor([1e-4, 1.0, 1e4]).view(-1, 1, 1)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    found = orthogonalised(matrices)
    projected = (left.mT @ found @ right.mT).diagonal(dim1=1, dim2=2)
    large = values > 0.1 * values.amax(dim=1, keepdim=True)
    assert large.sum() > 3 * 6
    assert bool(((projected > 0.4) & (projected < 1.3))[large].all())
    assert orthogonalised(torch.zeros(1, *shape)).abs().max() == 0


def test_a_step_is_as_large_whatever_the_gradient_and_other_weights_step_as_with_sgd() -> None:
    steps = {}
    for scale in (1.0, 1000.0):
        for kind in ("sgd", "muon"):
            module = network()
            optimizer = optimizer_of(module, replace(PLAN, optimizer=kind, weight_decay=0.0))  # type: ignore[arg-type]
            before = [weight.detach().clone() for weight in module.parameters()]
            torch.manual_seed(1)
            for weight in module.parameters():
                weight.grad = scale * torch.randn_like(weight)
            optimizer.step()
            steps[kind, scale] = [
                weight.detach() - old for weight, old in zip(module.parameters(), before, strict=True)
            ]
    names = [name for name, _ in network().named_parameters()]
    for i, name in enumerate(names):
        if name == "3.weight":  # the only convolution of more than one input channel
            torch.testing.assert_close(steps["muon", 1.0][i], steps["muon", 1000.0][i])
            largest = torch.linalg.matrix_norm(steps["muon", 1.0][i].flatten(1), ord=2)
            assert 0.6 < largest / (PLAN.learning_rate * MUON_SHARE) < 1.3
        else:
            assert torch.equal(steps["muon", 1.0][i], steps["sgd", 1.0][i]), name


def test_few_steps_get_further_and_repeat_bit_by_bit(digits: Dataset) -> None:
    sgd, muon = (
        [train(network(seed), digits, replace(PLAN, optimizer=kind)) for seed in range(3)]  # type: ignore[arg-type]
        for kind in ("sgd", "muon")
    )
    assert sum(each.accuracy for each in muon) > sum(each.accuracy for each in sgd) + 3 * 0.02
    again = train(network(0), digits, PLAN)
    assert all(torch.equal(value, again.state_dict[name]) for name, value in muon[0].state_dict.items())


def test_a_training_goes_on_where_its_state_was_taken(digits: Dataset) -> None:
    plan = replace(PLAN, epochs=2)
    whole, first, second = (TrainingLoop(network(), digits, plan, torch.device("cpu")) for _ in range(3))
    whole.advance_to(1)
    whole.advance_to(2)
    first.advance_to(1)
    second.restore(first.state())
    second.advance_to(2)
    for name, value in whole.state().tensors.items():
        assert torch.equal(value, second.state().tensors[name]), name


def test_an_unknown_optimizer_is_named() -> None:
    with pytest.raises(ConfigError, match="optimizer is 'adam'; it must be sgd or muon"):
        TrainingPlan(optimizer="adam")  # type: ignore[arg-type]


def test_a_network_without_weights_is_dead() -> None:
    with pytest.raises(TrainingError, match="no weights to train; check how its layers connect"):
        optimizer_of(nn.Flatten(), PLAN)
