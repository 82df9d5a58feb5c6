"""Means with confidence intervals, and which of them cannot be told apart."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)


def mean_interval(values: Sequence[float], confidence: float, least: float = -math.inf) -> tuple[float, float, float]:
    """Mean of two or more values and its confidence interval by Student's t: (mean, low, high).

    ``least`` is what the mean is known not to lie below: 0 of what a meter counts.
    """
    from scipy.stats import t  # loading it takes a second, which only few need

    count = len(values)
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * deviation / math.sqrt(count)
    return mean, max(mean - half, least), mean + half


def ratio_interval(
    values: Sequence[float], baselines: Sequence[float], confidence: float
) -> tuple[float, float, float] | None:
    """Ratio of two quantities measured in turns, and its confidence interval: (ratio, low, high).

    The geometric mean of the ratios turn by turn, by Student's t on their logarithms: what drifts slowly falls on both
    values of a turn and cancels. None where a value is not above 0 or there are fewer than two turns.
    """
    if len(values) != len(baselines) or len(values) < 2 or min(*values, *baselines) <= 0:
        return None
    logs = [math.log(value / baseline) for value, baseline in zip(values, baselines, strict=True)]
    mean, low, high = mean_interval(logs, confidence)
    return math.exp(mean), math.exp(low), math.exp(high)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two intervals have a point in common: what they are of is then not ranked."""
    return one[0] <= other[1] and other[0] <= one[1]


def overlapping_pairs(intervals: Mapping[_Key, tuple[float, float]]) -> list[tuple[_Key, _Key]]:
    """All pairs whose intervals overlap, in the order of ``intervals``."""
    return [(one, other) for (one, a), (other, b) in itertools.combinations(intervals.items(), 2) if overlap(a, b)]


def letters(intervals: Mapping[_Key, tuple[float, float]]) -> dict[_Key, str]:
    """Letters as under a plot of means: what shares a letter cannot be told apart, and everything else can.

    Each letter stands for a largest set of intervals that all overlap; intervals all overlap if and only if they have
    a point in common, so that the sets are found at the intervals' lower ends. "a" is the lowest set.
    """
    sets: list[set[_Key]] = []
    for low in sorted({interval[0] for interval in intervals.values()}):
        here = {key for key, interval in intervals.items() if interval[0] <= low <= interval[1]}
        sets = [each for each in sets if not each < here]
        if not any(here <= each for each in sets):
            sets.append(here)
    names = [_name(number) for number in range(len(sets))]
    return {key: "".join(name for name, each in zip(names, sets, strict=True) if key in each) for key in intervals}


def _name(number: int) -> str:
    """a to z, then a1 to z1 and so on."""
    cycle, place = divmod(number, 26)
    return string.ascii_lowercase[place] + (str(cycle) if cycle else "")
