"""Runtimes of training steps: which is chosen, and that none changes what is learned. CUDA graphs are only played."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from greennas.data import Dataset, load_data
from greennas.errors import ConfigError
from greennas.trainer import TrainingPlan, TrainingResult, train
from greennas.training.loop import TrainingLoop
from greennas.training.plan import Runtime
from greennas.training.runtime import quickest

PLAN = TrainingPlan(epochs=1, learning_rate=0.3, precision="float32")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data("digits", train_images=512, validation_images=200)


def trained(digits: Dataset, runtime: Runtime) -> tuple[nn.Module, TrainingResult]:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(288, 10)]
    network = nn.Sequential(*layers)
    return network, train(network, digits, replace(PLAN, runtime=runtime))


def same(one: TrainingResult, other: TrainingResult) -> bool:
    return all(torch.equal(value, other.state_dict[name]) for name, value in one.state_dict.items())


def test_what_is_chosen_depends_on_the_device_and_on_what_is_predicted() -> None:
    assert {quickest("cpu", steps, seconds) for steps in (1, 10**6) for seconds in (None, 1e5)} == {"eager"}
    assert quickest("cuda", 200) == "eager"
    assert quickest("cuda", 1000) == "graph"
    assert quickest("cuda", 1000, seconds=20.0) == "graph"
    assert quickest("cuda", 100_000, seconds=3600.0) == "compile"
    with pytest.raises(ConfigError, match="auto, eager, graph or compile"):
        TrainingPlan(runtime="fast")  # type: ignore[arg-type]


def test_evaluations_leave_the_weights_where_graphs_know_them(digits: Dataset) -> None:
    """A 1x1 depthwise weight has two memory formats at once, and a second move would copy it."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(64, 10))
    for ema in (True, False):
        loop = TrainingLoop(network, digits, replace(PLAN, ema=ema), torch.device("cpu"))
        places = [weight.data_ptr() for weight in network.parameters()]
        for _ in range(2):
            loop.advance(1)
            assert [weight.data_ptr() for weight in network.parameters()] == places
            loop.evaluate(1)


class Playback:
    """make_graphed_callables without a GPU: trains on the sample to warm up, then puts its own forward in."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, module: nn.Module, samples: tuple[Tensor, ...]) -> nn.Module:
        original = module.forward
        for _ in range(3):
            torch.autograd.grad(module(*samples).sum(), list(module.parameters()))

        def forward(images: Tensor) -> Any:
            self.calls += 1
            assert module.training
            return original(images)

        module.forward = forward  # type: ignore[method-assign]
        return module


def test_capturing_leaves_the_module_and_what_it_learns_as_they_are(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = Playback()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", graphs)
    _, eager = trained(digits, "eager")
    network, captured = trained(digits, "graph")
    assert graphs.calls == captured.steps == 8
    assert (eager.runtime, captured.runtime) == ("eager", "graph")
    assert same(eager, captured)
    assert "forward" not in vars(network)


def test_compiling_changes_nothing_that_is_learned(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # traces, without a compiler
    _, eager = trained(digits, "eager")
    _, compiled = trained(digits, "compile")
    assert compiled.runtime == "compile"
    assert same(eager, compiled)


@pytest.mark.long
def test_compiled_kernels_learn_the_same(digits: Dataset) -> None:
    _, eager = trained(digits, "eager")
    _, compiled = trained(digits, "compile")
    assert compiled.runtime == "compile"
    assert compiled.loss == pytest.approx(eager.loss, abs=0.02)


def test_a_network_that_cannot_be_captured_is_trained_all_the_same(digits: Dataset) -> None:
    _, eager = trained(digits, "eager")
    with pytest.warns(UserWarning, match="runs operator by operator, since graph failed"):
        _, result = trained(digits, "graph")  # there is no GPU here
    assert result.runtime == "eager"
    assert same(eager, result)
