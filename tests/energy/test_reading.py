from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennas.energy import Kind, Reading, primary, subtotals
from greennas.errors import MeterError

REAL_KINDS = [Kind.MEASURED, Kind.SAMPLED, Kind.MODELLED]


def reading(kind: Kind = Kind.MEASURED, energy_j: float | None = 10.0, component: str = "gpu") -> Reading:
    if energy_j is None:
        return Reading.unavailable(component, "none", "No counter.", seconds=2.0)
    return Reading(component, "test", kind, energy_j, energy_j * 0.9, energy_j * 1.1, 2.0, None, "A", "u", ("note",))


readings = st.one_of(
    st.builds(reading, st.sampled_from(REAL_KINDS), st.floats(0, 1e9), st.sampled_from(["gpu", "cpu", "dram"])),
    st.builds(reading, st.just(Kind.UNAVAILABLE), st.none(), st.sampled_from(["gpu", "cpu"])),
)


@given(st.lists(readings))
def test_subtotals_never_mix_kinds(found: list[Reading]) -> None:
    totals = subtotals(found)
    assert set(totals) == {r.kind for r in found if r.kind is not Kind.UNAVAILABLE}
    for kind, total_j in totals.items():
        assert total_j == pytest.approx(sum(r.energy_j or 0 for r in found if r.kind is kind))


@given(readings)
def test_json_round_trip(one: Reading) -> None:
    assert Reading.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_unavailable_is_none_and_never_zero() -> None:
    one = reading(energy_j=None)
    assert (one.energy_j, one.low_j, one.high_j, one.power_w, one.active_j) == (None,) * 5
    assert subtotals([one]) == {}
    with pytest.raises(MeterError):
        dataclasses.replace(one, energy_j=0.0)
    with pytest.raises(MeterError):
        dataclasses.replace(reading(), energy_j=None, low_j=None, high_j=None)


@pytest.mark.parametrize(
    "change",
    [
        {"low_j": 11.0},
        {"high_j": 9.0},
        {"low_j": -1.0},
        {"high_j": float("inf")},
        {"seconds": -1.0},
        {"energy_j": float("nan")},
    ],
)
def test_bounds_must_hold_the_estimate(change: dict[str, float]) -> None:
    with pytest.raises(MeterError):
        dataclasses.replace(reading(), **change)  # type: ignore[arg-type]


def test_idle_energy_is_part_of_a_reading_and_can_be_taken_off() -> None:
    assert dataclasses.replace(reading(), idle_power_w=2.0).active_j == pytest.approx(6.0)
    assert dataclasses.replace(reading(), idle_power_w=20.0).active_j == 0.0
    assert reading().active_j is None
    assert reading().power_w == pytest.approx(5.0)


def test_trainings_are_compared_by_the_gpu_if_there_is_one() -> None:
    cpu, gpu, none = reading(component="cpu"), reading(), reading(energy_j=None)
    assert primary([cpu]) is cpu
    assert primary([cpu, gpu]) is gpu
    assert primary([cpu, none]) is none  # the CPU's joules do not stand for the GPU's
    with pytest.raises(MeterError):
        primary([reading(component="dram")])


@pytest.mark.parametrize("data", [{}, {"kind": "guessed", "notes": []}, {"kind": "measured", "notes": [], "extra": 1}])
def test_damaged_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(MeterError, match="Not an energy reading"):
        Reading.from_json(data)
