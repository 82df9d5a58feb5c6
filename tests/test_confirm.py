"""Energies measured again: the arithmetic; and what is left of a session's metered total."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennas.carbon import CostEntry, Phase, SearchCost
from greennas.confirm import confirmation
from greennas.energy import Kind, Reading
from greennas.final import remainders
from greennas.price_tag import markdown


def reading(
    energy_j: float | None,
    kind: Kind = Kind.MEASURED,
    *,
    component: str = "gpu",
    uuid: str | None = "GPU-1",
    seconds: float = 2.0,
    shared: bool = False,
) -> Reading:
    if energy_j is None:
        return Reading.unavailable(component, "none", "No counter.", seconds=seconds)
    bounds = (0.9 * energy_j, energy_j, 1.1 * energy_j)
    return Reading(component, "test", kind, bounds[1], bounds[0], bounds[2], seconds, None, "d", uuid, (), shared)


def test_windows_are_scaled_to_the_whole_training() -> None:
    found = confirmation([reading(9.0), reading(10.0), reading(11.0, shared=True)], steps=20, plan_steps=100)
    assert found.train_energy_j == pytest.approx(50)
    assert found.interval_j == pytest.approx((50 - 4.302653 * 5 / math.sqrt(3), 50 + 4.302653 * 5 / math.sqrt(3)))
    assert (found.windows, found.steps, found.window_s, found.kind) == (3, 20, 2.0, Kind.MEASURED)
    assert found.shared


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=8), st.integers(1, 1000), st.integers(1, 10**6))
def test_interval_holds_the_mean_and_nothing_is_negative(joules: list[float], steps: int, plan_steps: int) -> None:
    found = confirmation([reading(energy_j) for energy_j in joules], steps, plan_steps)
    assert found.train_energy_j is not None
    assert found.interval_j is not None
    assert found.train_energy_j == pytest.approx(math.fsum(joules) / len(joules) / steps * plan_steps)
    assert 0 <= found.interval_j[0] <= found.train_energy_j * (1 + 1e-9)
    assert found.train_energy_j <= found.interval_j[1] * (1 + 1e-9)


@pytest.mark.parametrize("others", [[reading(None)], [reading(5.0, Kind.SAMPLED)]])
def test_a_missing_window_or_a_second_kind_leaves_no_figure(others: list[Reading]) -> None:
    found = confirmation([reading(5.0), reading(5.0), *others], steps=1, plan_steps=10)
    assert (found.train_energy_j, found.interval_j, found.kind) == (None, None, Kind.UNAVAILABLE)


def test_remainder_of_a_gpu_is_idle_and_that_of_the_cpu_overhead() -> None:
    entries = [
        CostEntry(Phase.TRAINING, "worker-0", reading(60.0, seconds=5.0)),
        CostEntry(Phase.TRAINING, "worker-1", reading(70.0, uuid="GPU-2")),
        CostEntry(Phase.TRAINING, "worker-0", reading(7.0, Kind.MODELLED, component="cpu", uuid=None)),
    ]
    totals = [
        reading(100.0, seconds=8.0),
        reading(80.0, uuid="GPU-2"),
        reading(10.0, Kind.MODELLED, component="cpu", uuid=None),
        reading(None),
    ]
    found = remainders(totals, entries)
    assert [(each.phase, each.reading.uuid, each.reading.energy_j) for each in found] == [
        (Phase.IDLE, "GPU-1", 40.0),
        (Phase.IDLE, "GPU-2", 10.0),
        (Phase.OVERHEAD, None, 3.0),
    ]
    assert all(each.derived and each.worker == "driver" for each in found)
    assert found[0].reading.seconds == 3.0


def test_kinds_are_not_subtracted_from_each_other() -> None:
    """Trainings are modelled where several run side by side, though the machine's own counter ran over all of it."""
    entries = [CostEntry(Phase.TRAINING, "worker-0", reading(60.0, Kind.MODELLED, component="cpu", uuid=None))]
    total = reading(100.0, component="cpu", uuid=None)
    assert remainders([total], entries) == []
    cost = SearchCost(entries, metered=[total])
    (found,) = cost.reconciliation()
    assert (found.metered_j, found.entries_j, found.ratio) == (100.0, 0.0, None)
    assert "which do not compare with that" in markdown(cost)


def test_more_entries_than_metered_leave_nothing_and_never_less() -> None:
    entries = [CostEntry(Phase.TRAINING, "worker-0", reading(120.0))]
    (rest,) = remainders([reading(100.0)], entries)
    assert rest.reading.energy_j == 0
    assert rest.reading.low_j == 0
