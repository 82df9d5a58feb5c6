"""Short trainings: what they reach, that they repeat, and how they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from greennas.data import Dataset, Split
from greennas.errors import DataError, TrainingError
from greennas.trainer import RungReport, TrainingPlan, evaluate_accuracy, train, training_steps
from greennas.training.batches import TrainingBatches
from greennas.training.schedule import learning_rate

PLAN = TrainingPlan(epochs=4, batch_size=64, learning_rate=0.3, precision="float32")


def network(seed: int = 0, width: int = 16) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 10),
    )


class Calls(nn.Module):
    """Runs a function of images and step in place of a network; has one weight, so that it trains."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.scale)


# What is reached


def test_digits_are_learned_and_the_module_holds_what_was_evaluated(digits: Dataset) -> None:
    module = network()
    result = train(module, digits, PLAN)
    assert result.accuracy > 0.93
    assert not result.stopped
    assert result.steps == 4 * (1079 // 64)
    assert result.examples_seen == result.steps * 64
    assert result.seconds > 0
    assert result.threads == 1
    assert evaluate_accuracy(module, digits.validation, digits) == (result.accuracy, result.loss)
    fresh = network(seed=1)
    fresh.load_state_dict(result.state_dict)
    assert evaluate_accuracy(fresh, digits.validation, digits, batch_size=100)[0] == pytest.approx(result.accuracy)


def test_averaged_weights_are_sane_after_few_steps_and_better_at_the_end(digits: Dataset) -> None:
    """Averages that start at zero, or statistics of other weights, would leave a short training at chance."""
    few = train(network(), digits, replace(PLAN, epochs=1))
    assert few.steps == 16
    assert few.accuracy > 0.6
    for epochs in (1, 4):
        plans = [replace(PLAN, ema=ema, epochs=epochs) for ema in (True, False)]
        averaged, last = (sum(train(network(seed), digits, plan).accuracy for seed in range(3)) for plan in plans)
        assert averaged > last


def test_bfloat16_is_used_where_it_is_asked_for_and_never_chosen_by_a_clock(digits: Dataset) -> None:
    asked = train(network(), digits, replace(PLAN, precision="bfloat16"))
    assert (asked.precision, asked.accuracy > 0.9) == ("bfloat16", True)
    assert train(network(), digits, replace(PLAN, precision="auto", epochs=0.1)).precision == "float32"


def test_one_cycle_rises_and_falls_to_zero_and_learns_in_few_epochs(digits: Dataset) -> None:
    plan = replace(PLAN, epochs=2, schedule="onecycle")
    steps = plan.steps(len(digits.train))
    rates = [learning_rate(plan, step, len(digits.train)) for step in range(steps)]
    peak = rates.index(max(rates))
    assert max(rates) == plan.learning_rate
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 0.1 * plan.learning_rate
    assert learning_rate(plan, steps, len(digits.train)) == 0
    for seed in range(3):  # statistics of other weights would leave it far below
        assert train(network(seed), digits, replace(plan, learning_rate=0.6)).accuracy > 0.85


def test_training_repeats_bit_by_bit_and_leaves_the_generator_alone(digits: Dataset) -> None:
    module = nn.Sequential(*network()[:-1], nn.Dropout(0.2), network()[-1])
    start = {name: value.clone() for name, value in module.state_dict().items()}
    plan = replace(PLAN, epochs=1, augment=True)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = train(module, digits, plan)
    assert torch.equal(torch.rand(3), expected)
    module.load_state_dict(start)
    second = train(module, digits, plan)
    module.load_state_dict(start)
    other = train(module, digits, replace(plan, seed=1))
    assert all(torch.equal(value, second.state_dict[name]) for name, value in first.state_dict.items())
    assert (first.accuracy, first.loss) == (second.accuracy, second.loss)
    assert first.loss != other.loss


def test_augmentation_moves_whole_images_and_keeps_digits_unmirrored(digits: Dataset) -> None:
    one = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    one[:, :, 3, 2] = 255
    one[:, 1, 3, 3] = 128
    labels = torch.arange(64) % 2
    small = replace(digits, train=Split(one, labels), mean=(0.0,) * 3, std=(1.0,) * 3)
    left_neighbours = set()
    for name in ("digits", "other"):
        images, _ = TrainingBatches(replace(small, name=name), 64, True, 0, torch.device("cpu")).next()
        assert images.sum(dim=(1, 2, 3)) == pytest.approx(torch.full((64,), 3 + 128 / 255))
        places = {tuple(each[0].nonzero()[0].tolist()) for each in images}
        assert len(places) >= 9
        mirrored = sum(bool(each[1, :, :-1][each[0, :, 1:] == 1].eq(128 / 255).any()) for each in images)
        left_neighbours.add((name, mirrored > 0))
        assert mirrored < 64
    assert left_neighbours == {("digits", False), ("other", True)}
    assert train(network(), digits, replace(PLAN, augment=True)).accuracy > 0.7


# Rungs


def test_rungs_are_reported_and_do_not_change_the_training(digits: Dataset) -> None:
    reports: list[RungReport] = []

    def go_on(report: RungReport) -> bool:
        reports.append(report)
        return True

    with_rungs = train(network(), digits, replace(PLAN, rungs=(1, 2)), on_rung=go_on)
    without = train(network(), digits, PLAN)
    assert [report.epoch for report in reports] == [1, 2]
    assert with_rungs.rungs == tuple(reports)
    assert reports[0].steps == 16
    assert reports[0].accuracy < with_rungs.accuracy
    assert with_rungs.accuracy == without.accuracy
    assert with_rungs.loss == pytest.approx(without.loss, rel=1e-5)


def test_a_rung_sees_what_a_shorter_training_ends_with(digits: Dataset) -> None:
    long = train(network(), digits, replace(PLAN, rungs=(1,)))
    short = train(network(), digits, replace(PLAN, epochs=1))
    assert long.rungs[0].accuracy == short.accuracy


def test_a_rung_stops_the_training(digits: Dataset) -> None:
    module = network()
    result = train(module, digits, replace(PLAN, rungs=(1, 2)), on_rung=lambda report: report.epoch < 2)
    assert result.stopped
    assert [report.epoch for report in result.rungs] == [1, 2]
    assert result.steps == 32
    assert result.accuracy == result.rungs[-1].accuracy
    assert evaluate_accuracy(module, digits.validation, digits)[0] == result.accuracy


def test_phases_enclose_the_work(digits: Dataset) -> None:
    phases: list[str] = []

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        phases.append(name)
        yield
        phases.append("end")

    train(network(), digits, replace(PLAN, epochs=2, rungs=(1,)), phase=phase)
    assert phases == [w for p in ("overhead", "train", "evaluate", "train", "evaluate") for w in (p, "end")]
    phases.clear()
    result = training_steps(network(), digits, PLAN, 3, phase=phase)
    assert phases == ["overhead", "end", "probe", "end"]
    assert result.steps == 3
    assert result.seconds > 0
    assert training_steps(network(), digits, PLAN, 3, min_seconds=0.1).seconds >= 0.1


# Odd sizes


@pytest.mark.parametrize(("images", "batch_size", "steps"), [(65, 64, 1), (40, 64, 1), (129, 64, 2)])
def test_a_last_incomplete_batch_never_reaches_batch_norm(
    digits: Dataset, images: int, batch_size: int, steps: int
) -> None:
    small = replace(digits, train=digits.train.first(images), validation=digits.validation.first(11))
    result = train(network(), small, replace(PLAN, epochs=1, batch_size=batch_size))
    assert result.steps == steps
    assert 0 <= result.accuracy <= 1
    module = network()
    assert evaluate_accuracy(module, small.validation, small, batch_size=10)[1] == pytest.approx(
        evaluate_accuracy(module, small.validation, small, batch_size=3)[1]
    )


def test_an_empty_split_is_refused(digits: Dataset) -> None:
    with pytest.raises(DataError, match="no images to evaluate on; give a split with one or more"):
        evaluate_accuracy(network(), digits.validation.first(0), digits)


def test_lazy_layers_get_their_weights_and_are_trained(digits: Dataset) -> None:
    lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    assert train(lazy, digits, PLAN).accuracy > 0.8


def test_module_keeps_its_mode_and_its_frozen_parts(digits: Dataset) -> None:
    module = network()
    module[1].eval()
    evaluate_accuracy(module, digits.validation.first(20), digits)
    assert module.training
    assert not module[1].training


def test_a_last_layer_that_starts_at_zero_is_not_dead(digits: Dataset) -> None:
    module = network()
    nn.init.zeros_(module[-1].weight)
    nn.init.zeros_(module[-1].bias)
    assert train(module, digits, PLAN).accuracy > 0.8


def test_the_check_before_training_leaves_the_weights_as_they_were(digits: Dataset) -> None:
    module = network()
    nn.init.zeros_(module[-1].weight)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    training_steps(module, digits, replace(PLAN, learning_rate=1e-30, weight_decay=0), 1)
    names = ("0.weight", "8.weight", "8.bias")
    after = module.state_dict()
    assert all(torch.allclose(after[name], before[name], rtol=0, atol=1e-20) for name in names)


# Less memory


def plain(seed: int = 0) -> nn.Sequential:
    """Without batch norm, whose statistics are those of the images that it sees at once."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


class Short(nn.Module):
    """Passes images on, but only so many at once, in training or in evaluation."""

    def __init__(self, training: int = 1000, evaluation: int = 1000) -> None:
        super().__init__()
        self.most = {True: training, False: evaluation}
        self.tried: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.tried.append(len(x))
        if len(x) > self.most[self.training]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return x


@pytest.mark.parametrize(("batch_size", "microbatch"), [(64, 16), (50, 16), (65, 64)])
def test_gradients_add_up_to_those_of_the_batch(digits: Dataset, batch_size: int, microbatch: int) -> None:
    small = replace(digits, train=digits.train.first(batch_size))
    plan = replace(PLAN, epochs=1, batch_size=batch_size, ema=False)
    whole, parts = plain(), plain()
    first = train(whole, small, plan)
    second = train(parts, small, replace(plan, microbatch=microbatch))
    assert (first.microbatch, second.microbatch) == (None, microbatch)
    assert (first.steps, first.examples_seen) == (second.steps, second.examples_seen) == (1, batch_size)
    begun = plain().state_dict()
    for name, value in first.state_dict.items():
        moved, difference = (value - begun[name]).abs().max(), (value - second.state_dict[name]).abs().max()
        assert difference < 1e-4 * moved


def test_a_batch_is_halved_where_memory_runs_out(digits: Dataset) -> None:
    short = Short(training=20)
    result = train(nn.Sequential(short, *plain()), digits, replace(PLAN, epochs=1))
    assert result.microbatch == 16
    assert short.tried.count(64) == short.tried.count(32) == 1  # later steps begin with what fits
    assert result.steps == 16
    expected = train(plain(), digits, replace(PLAN, epochs=1, microbatch=16))
    assert (result.accuracy, result.loss) == (expected.accuracy, expected.loss)


def test_a_batch_is_not_halved_below_eight_images(digits: Dataset) -> None:
    short = Short(training=7)
    with pytest.raises(TrainingError, match=r"^out of memory"):
        train(nn.Sequential(short, *plain()), digits, PLAN)
    assert short.tried[-4:] == [64, 32, 16, 8]


def test_evaluations_are_halved_likewise(digits: Dataset) -> None:
    short = Short(evaluation=40)
    module = nn.Sequential(short, *plain())
    accuracy, loss = evaluate_accuracy(module, digits.validation, digits)
    assert short.tried[:4] == [256, 128, 64, 32]
    assert (accuracy, loss) == pytest.approx(evaluate_accuracy(module[1:], digits.validation, digits))
    small = replace(digits, train=digits.train.first(128), validation=digits.validation.first(100))
    result = train(nn.Sequential(Short(evaluation=40), *network()), small, replace(PLAN, epochs=1))
    assert result.microbatch is None
    assert result.loss == pytest.approx(train(network(), small, replace(PLAN, epochs=1)).loss, rel=0.1)


# Failures


def test_a_network_of_nan_fails_at_its_first_step(digits: Dataset) -> None:
    module = Calls(lambda x, scale: scale * x.flatten(1)[:, :10] * float("nan"))
    with pytest.raises(TrainingError, match="loss is not finite after 1 steps"):
        train(module, digits, PLAN)


def test_a_diverging_training_fails(digits: Dataset) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    with pytest.raises(TrainingError, match=r"loss is not finite after \d+ steps"):
        train(plain, digits, replace(PLAN, learning_rate=1e6))


def test_out_of_memory_fails(digits: Dataset) -> None:
    def allocate(x: Tensor, scale: Tensor) -> Tensor:
        return torch.empty(2**60, device=x.device)[:10] * scale

    def exhausted(x: Tensor, scale: Tensor) -> Tensor:
        raise MemoryError

    for function in (allocate, exhausted):
        with pytest.raises(TrainingError, match=r"^out of memory"):
            train(Calls(function), digits, PLAN)


@pytest.mark.parametrize(
    "module",
    [
        Calls(lambda x, scale: scale * torch.arange(10.0).expand(len(x), 10)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Threshold(1e9, 0.0), nn.Linear(144, 10)),
    ],
)
def test_a_dead_network_fails_before_it_is_trained(digits: Dataset, module: nn.Module) -> None:
    with pytest.raises(TrainingError, match=r"^dead network"):
        train(module, digits, PLAN, phase=_refuse_training)


def _refuse_training(name: str) -> torch.no_grad:
    assert name == "overhead"
    return torch.enable_grad()


def test_a_network_without_weights_fails(digits: Dataset) -> None:
    with pytest.raises(TrainingError, match="no weights"):
        train(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(10)), digits, PLAN)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, scale: scale * x.flatten(1)[:, :9],
        lambda x, scale: scale * x,
        lambda x, scale: (scale * x.flatten(1)[:, :10],),
        lambda x, scale: x.flatten(1)[:, :10].long(),
    ],
)
def test_output_of_a_wrong_shape_fails(digits: Dataset, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(TrainingError, match="The network returns"):
        train(Calls(function), digits, PLAN)


def test_other_errors_of_the_network_pass_through(digits: Dataset) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), digits, PLAN)


def test_a_loss_that_is_not_finite_on_held_out_images_is_a_failure(digits: Dataset) -> None:
    module = Calls(lambda x, scale: x.flatten(1)[:, :10] * scale * float("nan"))
    with pytest.raises(TrainingError, match="not finite on held-out images; take a smaller learning rate"):
        evaluate_accuracy(module, digits.validation, digits)
