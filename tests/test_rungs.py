"""Rungs: which trainings go on, by non-domination rank of accuracy and time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import greennas
from greennas.carbon import Phase
from greennas.errors import ConfigError
from greennas.run import RunFolder
from greennas.rungs import RungKeeper
from greennas.trainer import Rung, RungReport


def report(accuracy: float, seconds: float, epoch: float = 1) -> RungReport:
    return RungReport(epoch=epoch, steps=10, examples_seen=640, accuracy=accuracy, loss=1.0, seconds=seconds)


def test_the_first_go_on_however_bad_they_are() -> None:
    keeper = RungKeeper(keep=0.5, grace=3)
    assert [keeper.go_on(report(accuracy, 1.0)) for accuracy in (0.9, 0.5, 0.1)] == [True, True, True]


def test_after_the_grace_only_the_better_half_goes_on() -> None:
    keeper = RungKeeper(keep=0.5, grace=3)
    for accuracy in (0.9, 0.8, 0.7):
        keeper.go_on(report(accuracy, 1.0))
    assert not keeper.go_on(report(0.6, 1.0))  # the last of four
    assert keeper.go_on(report(0.85, 1.0))  # the second of five: half of five, rounded up, are three
    assert keeper.go_on(report(0.84, 1.0))  # the third of six
    assert not keeper.go_on(report(0.75, 1.0))  # the fifth of seven


def test_a_quick_training_goes_on_though_it_is_less_accurate() -> None:
    keeper = RungKeeper(keep=0.5, grace=3)
    for accuracy, seconds in ((0.9, 3.0), (0.8, 4.0), (0.7, 5.0)):
        keeper.go_on(report(accuracy, seconds))
    assert keeper.go_on(report(0.6, 1.0))  # nobody is as quick: it is not dominated
    assert not keeper.go_on(report(0.6, 4.5))


def test_the_networks_of_a_rank_go_on_together() -> None:
    keeper = RungKeeper(keep=0.25, grace=3)
    for accuracy, seconds in ((0.5, 1.0), (0.6, 2.0), (0.7, 3.0)):
        keeper.go_on(report(accuracy, seconds))
    assert keeper.go_on(report(0.8, 4.0))  # all four are non-dominated, of which one may go on
    assert keeper.go_on(report(0.4, 0.5))  # the cheapest, and the least accurate of five
    assert not keeper.go_on(report(0.65, 3.5))  # of six two may go on, and five are better


def test_rungs_do_not_mix() -> None:
    keeper = RungKeeper(keep=0.5, grace=1)
    assert keeper.go_on(report(0.9, 1.0, epoch=1))
    assert not keeper.go_on(report(0.5, 2.0, epoch=1))
    assert keeper.go_on(report(0.5, 2.0, epoch=3))


def test_rungs_of_other_images_do_not_mix() -> None:
    keeper = RungKeeper(keep=0.5, grace=1)
    for reduced in ({}, {"resolution": 14}, {"data_share": 0.5}):
        assert keeper.go_on(replace(report(0.9, 1.0), **reduced))
        assert not keeper.go_on(replace(report(0.5, 2.0), **reduced))


@pytest.mark.parametrize("grace", [1, 4])
def test_everything_goes_on_where_all_are_kept(grace: int) -> None:
    keeper = RungKeeper(keep=1.0, grace=grace)
    assert all(keeper.go_on(report(1 - i / 10, 1.0 + i)) for i in range(8))


def test_equal_trainings_share_their_rank() -> None:
    keeper = RungKeeper(keep=0.5, grace=1)
    assert all(keeper.go_on(report(0.8, 1.0)) for _ in range(4))


# In a search.

SPACE = """
from torch import nn


class Flat(nn.Module):
    def __init__(self, pixels, num_classes):
        super().__init__()
        self.layer = nn.Linear(pixels, num_classes)

    def forward(self, x):
        return self.layer(x.flatten(1))


def sample(trial):
    return {"width": trial.suggest_int("width", 1, 24)}


def build(params, input_shape, num_classes, *, flat=False):
    if flat:
        return Flat(input_shape[0] * input_shape[1] * input_shape[2], num_classes)
    width = params["width"]
    return nn.Sequential(
        nn.Conv2d(input_shape[0], width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes),
    )
"""
SETTINGS: dict[str, Any] = {
    "data.train_images": 256,
    "data.validation_images": 100,
    "training": {"epochs": 4, "rungs": [{"epochs": 2, "resolution": 4}, 1], "learning_rate": 0.2},
    "screen": {"initial": 2, "pool": 20, "probe_steps": 0, "keep": 0.3},
    "energy": {"confirm": 0},
    "workers": 1,
}


@pytest.fixture
def space(tmp_path: Path) -> str:
    (tmp_path / "toy.py").write_text(SPACE)
    return str(tmp_path / "toy.py")


def test_a_search_stops_at_its_rungs_bills_them_and_goes_on_with_them(space: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    greennas.search(space, trials=4, out=out, **SETTINGS)
    result = greennas.continue_search(out, overrides={"trials": 9})
    keeper = RungKeeper(keep=0.3, grace=2)  # one worker: the trials came to their rungs one after the other
    trained = 0
    for trial in RunFolder.open(out).read_study().trials:
        reports = [RungReport(**each) for each in trial.user_attrs["rungs"]]
        assert [each.rung for each in reports] == [Rung(2, resolution=4), Rung(1)][: len(reports)]
        went_on = [keeper.go_on(each) for each in reports]
        assert all(went_on[:-1])
        trained += went_on[-1]
        assert trial.state.name == ("COMPLETE" if went_on[-1] else "PRUNED")
        assert trial.user_attrs["epochs"] == (4 if went_on[-1] else reports[-1].epoch)
    assert len(result.trials) == 9
    assert 2 <= trained < 9
    assert {trial.epochs for trial in result.front} == {4}
    assert result.cost.by_phase()[Phase.RUNG][0].energy_j > 0


@pytest.mark.parametrize(
    ("options", "rung", "sentence"),
    [
        (
            {},
            {"epochs": 1, "resolution": 8},
            r"images of 8 pixels, and those of digits have 8; take a smaller",
        ),
        ({}, {"epochs": 1, "data_share": 0.1}, r"asks for 0.1 of the 256 train images, less than a batch of 32"),
        ({"flat": True}, {"epochs": 1, "resolution": 4}, r"which a network of this space cannot take \(RuntimeError"),
    ],
)
def test_rungs_that_do_not_fit_are_refused_before_anything_is_written(
    space: str, tmp_path: Path, options: dict[str, Any], rung: dict[str, Any], sentence: str
) -> None:
    settings = SETTINGS | {"training": {"epochs": 4, "rungs": [rung]}, "space_options": options}
    with pytest.raises(ConfigError, match=sentence):
        greennas.search(space, trials=2, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
