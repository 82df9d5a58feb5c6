"""Every test of a meter sees a machine without GPU settings, without torch and with a clock of its own if it asks."""

from __future__ import annotations

import sys

import pytest
from energy_fakes import Clock, FakeGpu


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU settings of the machine that runs the tests, and no torch that could answer for a GPU."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for meters and fake GPUs that no load on the machine disturbs (sampling threads keep real time)."""
    made = Clock()
    for module in ("gpu", "meter", "benchmark"):
        monkeypatch.setattr(f"greennas.energy.{module}.time", made)
    monkeypatch.setattr(FakeGpu, "default_clock", made)
    return made
