from __future__ import annotations

from typing import Any

import pytest

from greennas import prepare as module
from greennas.config import load_config
from greennas.energy import Kind
from greennas.energy.meter import Meter, Source
from greennas.errors import ConfigError
from greennas.prepare import prepare


class Blind(Meter):
    """A meter whose device shows nothing."""

    def describe(self) -> list[Source]:
        return [Source("cpu", "none", Kind.UNAVAILABLE, "a processor", None, "", None)]


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_meter", lambda *args, **named: Blind([]))


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "train_energy_j cannot be an objective"),
        ({"objectives": "accuracy,latency_ms", "energy_budget_j": 100.0}, "nothing to hold against a budget"),
        ({"objectives": "accuracy,latency_ms", "constraints.max_energy_j": 5.0}, "nothing to hold against a budget"),
    ],
)
def test_what_needs_joules_is_refused_where_none_can_be_read(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prepare(load_config(overrides=settings))


@pytest.mark.usefixtures("blind")
def test_a_search_without_joules_needs_no_counter() -> None:
    assert prepare(load_config(overrides={"objectives": "accuracy,latency_ms"})).devices


def test_the_batch_is_at_most_an_eighth_of_the_data() -> None:
    setup = prepare(load_config(overrides={"data.train_images": 200}))
    assert setup.plan({}).batch_size == 25
    assert prepare(load_config(assignments=["training.batch_size=50"])).plan({}).batch_size == 50


def test_one_precision_a_search_on_a_processor() -> None:
    assert prepare(load_config(overrides={"device": "cpu"})).plan({}).precision == "float32"


def test_schedules_that_end_have_no_rungs() -> None:
    plan = prepare(load_config(overrides={"training.schedule": "onecycle", "training.epochs": 8})).plan({})
    assert (plan.schedule, plan.rungs, plan.averages) == ("onecycle", (), False)
    with pytest.raises(ConfigError, match="rungs need schedule: constant"):
        load_config(overrides={"training.schedule": "onecycle", "training.epochs": 8, "training.rungs": [2]})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objectives": "accuracy,latency_ms"},
        {"objectives": "accuracy,flops", "energy_budget_j": 100.0},
        {"objectives": "accuracy,flops", "constraints.max_latency_ms": 2.0},
    ],
)
def test_workers_share_no_gpu_where_energy_or_latency_count(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"3 workers need 3 GPUs and there are 2: .*; take --workers 2, or leave"):
        prepare(load_config(overrides={"workers": 3, **settings}))


def test_workers_share_gpus_where_neither_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    setup = prepare(load_config(overrides={"workers": 5, "objectives": "accuracy,flops"}))
    assert setup.devices == ("cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0")
