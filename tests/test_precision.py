"""Which precision a search trains in: measured where it is long, the same for all of its trainings, for good."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from optuna.trial import TrialState

import greennas
from greennas import precision
from greennas.carbon import Phase
from greennas.config import load_config
from greennas.executors import Event, Executor
from greennas.full.job import prepare_training
from greennas.ledger import Ledger
from greennas.measurement import EvaluationTask
from greennas.precision import Comparison, computes_in_bfloat16, earns_measuring, settle_precision
from greennas.prepare import prepare
from greennas.results import DRIVER_COSTS, ENVIRONMENT, PRECISION, SearchResult
from greennas.run import RunFolder
from greennas.search import continue_search

_SETTINGS = {
    "training": {"epochs": 1},
    "screen": {"initial": 2, "pool": 20},
    "energy": {"confirm": 0},
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors without its instructions compute it all the same, slowly."""
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device_type: True)


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every search is long enough to measure."""
    monkeypatch.setattr(precision, "SHARE", float("inf"))


def run_of(result: SearchResult) -> RunFolder:
    return RunFolder.open(result.path)


def trained_in(result: SearchResult) -> set[str]:
    trials = run_of(result).read_study().get_trials(states=[TrialState.COMPLETE])
    assert len(trials) == len(result.completed) > 0
    return {trial.user_attrs[ENVIRONMENT]["precision"] for trial in trials}


def probe_costs(result: SearchResult) -> list[dict[str, object]]:
    entries = run_of(result).read_study().user_attrs[DRIVER_COSTS]
    return [entry for entry in entries if entry["phase"] == str(Phase.PROBE)]


def test_a_short_search_measures_nothing(small_space: str, tmp_path: Path) -> None:
    result = greennas.search(small_space, trials=2, out=tmp_path / "run", workers=1, **_SETTINGS)
    assert PRECISION not in run_of(result).read_study().user_attrs
    assert run_of(result).config.training.precision == "auto"
    assert trained_in(result) == {"float32"}


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(("least", "chosen"), [(0.0, "bfloat16"), (float("inf"), "float32")])
def test_a_long_search_measures_once_and_trains_in_what_it_has_chosen(
    least: float, chosen: str, small_space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "LEAST_SPEEDUP", least)
    said: list[str] = []
    out = tmp_path / "run"
    settings = {**_SETTINGS, "trials": 2, "workers": 2}
    result = greennas.search(small_space, out=out, on_progress=lambda p: said.append(p.message or ""), **settings)
    found = run_of(result).read_study().user_attrs[PRECISION]
    assert found["chosen"] == run_of(result).config.training.precision == result.config.training.precision == chosen
    assert len(found["float32_s"]) == len(found["bfloat16_s"]) == 3
    assert min(*found["float32_s"], *found["bfloat16_s"]) > 0
    assert trained_in(result) == {chosen}
    sentence = Comparison(tuple(found["float32_s"]), tuple(found["bfloat16_s"])).sentence
    assert said[0] == sentence
    assert sentence in (out / "search.log").read_text()
    paid = probe_costs(result)
    assert sum(entry["reading"]["energy_j"] for entry in paid) > 0  # type: ignore[index]
    assert all(each.entries_j >= 0.99 * each.metered_j for each in result.cost.reconciliation())

    resumed = continue_search(out, overrides={"trials": 3, "workers": 1})
    assert run_of(resumed).read_study().user_attrs[PRECISION] == found
    assert probe_costs(resumed) == paid
    assert len(resumed.completed) == 3
    assert trained_in(resumed) == {chosen}
    assert prepare_training(out).plan.precision == chosen


@pytest.mark.usefixtures("long")
def test_what_is_asked_for_is_not_measured(small_space: str, tmp_path: Path) -> None:
    settings = {**_SETTINGS, "training": {"epochs": 1, "precision": "bfloat16"}}
    result = greennas.search(small_space, trials=1, out=tmp_path / "run", workers=1, **settings)
    assert PRECISION not in run_of(result).read_study().user_attrs
    assert trained_in(result) == {"bfloat16"}


@pytest.mark.usefixtures("long")
def test_a_processor_without_bfloat16_is_not_measured(
    small_space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device_type: False)
    result = greennas.search(small_space, trials=1, out=tmp_path / "run", workers=1, **_SETTINGS)
    assert PRECISION not in run_of(result).read_study().user_attrs
    assert trained_in(result) == {"float32"}


@pytest.mark.usefixtures("long")
def test_bfloat16_whose_loss_is_not_finite_is_not_taken(
    small_space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "LEAST_SPEEDUP", 0.1)
    space = tmp_path / "overflowing.py"
    plain = Path(small_space).read_text()
    overflow = 'return x * float("nan") if torch.is_autocast_enabled("cpu") else x'
    space.write_text(
        plain.replace('return x * float("nan")', overflow).replace('os.environ.get("FAULTS", "none")', '"nan"')
    )
    result = greennas.search(str(space), trials=1, out=tmp_path / "run", workers=1, **_SETTINGS)
    found = run_of(result).read_study().user_attrs[PRECISION]
    assert found["chosen"] == "float32"
    assert "not finite" in found["reason"]
    assert trained_in(result) == {"float32"}
    assert probe_costs(result)


class _Waiting:
    """An executor whose task never ends."""

    def __init__(self) -> None:
        self.tasks: list[EvaluationTask] = []

    def submit(self, task_id: str, task: EvaluationTask) -> None:
        self.tasks.append(task)

    def wait(self, timeout_s: float) -> list[Event]:
        return []


@pytest.mark.usefixtures("long")
def test_stopped_while_it_is_measured_nothing_is_decided(small_space: str, tmp_path: Path) -> None:
    setup = prepare(load_config(overrides={**_SETTINGS, "space": small_space, "workers": 1}))
    run = RunFolder.create(tmp_path / "run", setup.config)
    ledger = Ledger(run.start_study(), setup.config.metrics)
    executor = _Waiting()
    answers = iter((False, True))
    after, costs = settle_precision(
        setup, run, ledger, cast(Executor, executor), tmp_path, pytest.fail, lambda: next(answers)
    )
    assert (after, costs) == (setup, [])
    assert run.config.training.precision == "auto"
    assert PRECISION not in ledger.study.user_attrs
    (task,) = executor.tasks
    assert [plan.precision for plan in task.plans] == ["float32", "bfloat16"] * 3
    assert task.candidates[::2] == task.candidates[1::2]


@pytest.mark.parametrize(
    ("bfloat16_s", "chosen"),
    [
        ((0.02, 0.04, 0.06), "float32"),  # slower
        ((0.0095, 0.019, 0.029), "float32"),  # hardly quicker
        ((0.005, 0.021, 0.031), "float32"),  # of one network alone
        ((0.005, 0.01, 0.04), "bfloat16"),  # of most networks
    ],
)
def test_bfloat16_is_taken_where_it_is_clearly_quicker(bfloat16_s: tuple[float, ...], chosen: str) -> None:
    assert Comparison((0.01, 0.02, 0.03), bfloat16_s).chosen == chosen


def test_nothing_measured_is_float32() -> None:
    found = Comparison(reason="the worker died of signal 9 (SIGKILL).")
    assert (found.chosen, found.speedup) == ("float32", 0.0)
    assert found.sentence.startswith("Trainings take float32")
    assert "SIGKILL" in found.sentence


_LONG = {"trials": 200, "device": "cpu"}


@pytest.mark.parametrize(
    ("changes", "earns"),
    [
        ({}, True),
        ({"trials": 5}, False),
        ({"time_budget_s": 600.0}, False),
        ({"time_budget_s": 864_000.0}, True),
        ({"energy_budget_j": 5_000.0}, False),
        ({"energy_budget_j": 1e8}, True),
    ],
)
def test_measuring_is_a_small_part_of_the_search(changes: dict[str, float], earns: bool) -> None:
    config = load_config(overrides={**_LONG, **changes})
    assert earns_measuring(config, "cpu", 1, steps=1000, step_flops=1e11) is earns


def test_small_networks_few_steps_and_many_workers_are_too_short() -> None:
    config = load_config(overrides=_LONG)
    assert not earns_measuring(config, "cpu", 1, steps=1000, step_flops=1e7)
    assert not earns_measuring(config, "cpu", 1, steps=50, step_flops=1e13)
    assert not earns_measuring(config, "cpu", 64, steps=1000, step_flops=1e11)


def test_instructions_are_what_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, expected in (("avx512_bf16", True), ("amx_bf16", True), ("avx512_f", False)):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda name=name: {name: True, "arm_bf16": False})
        assert computes_in_bfloat16("cpu") is expected
