"""Rungs: which trainings go on, by non-domination rank of accuracy and time."""

from __future__ import annotations

import pytest

from greennas.rungs import RungKeeper
from greennas.trainer import RungReport


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


def test_within_a_rank_the_more_accurate_goes_first() -> None:
    keeper = RungKeeper(keep=0.25, grace=3)
    for accuracy, seconds in ((0.5, 1.0), (0.6, 2.0), (0.7, 3.0)):
        keeper.go_on(report(accuracy, seconds))
    assert keeper.go_on(report(0.8, 4.0))  # all four are non-dominated and one may go on
    assert not keeper.go_on(report(0.65, 2.5))  # of five two may go on, and it is the third


def test_rungs_do_not_mix() -> None:
    keeper = RungKeeper(keep=0.5, grace=1)
    assert keeper.go_on(report(0.9, 1.0, epoch=1))
    assert not keeper.go_on(report(0.5, 2.0, epoch=1))
    assert keeper.go_on(report(0.5, 2.0, epoch=3))


@pytest.mark.parametrize("grace", [1, 4])
def test_everything_goes_on_where_all_are_kept(grace: int) -> None:
    keeper = RungKeeper(keep=1.0, grace=grace)
    assert all(keeper.go_on(report(1 - i / 10, 1.0 + i)) for i in range(8))


def test_equal_trainings_share_their_rank_and_the_earlier_goes_first() -> None:
    keeper = RungKeeper(keep=0.5, grace=1)
    decisions = [keeper.go_on(report(0.8, 1.0)) for _ in range(4)]
    assert decisions == [True, False, False, False]
