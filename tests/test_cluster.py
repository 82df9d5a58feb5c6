"""What a training gets of a cluster, and energies of several kinds of devices."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from greennas.cluster.connection import Cluster, authentication, connect
from greennas.cluster.engine import engine_folders
from greennas.cluster.exchange import Exchange
from greennas.cluster.settings import ClusterSettings
from greennas.config import load_config
from greennas.device_profile import QUANTITIES, DeviceProfile, default_path
from greennas.energy import Kind
from greennas.errors import ConfigError
from greennas.measurement import Confirmation, EvaluationTask, Measurement, Probe
from greennas.space import load_space
from greennas.trainer import TrainingPlan

# What a training gets.


@pytest.mark.parametrize(
    ("given", "gpus", "request_"),
    [
        ({}, False, {"CPU": 1}),
        ({}, True, {"GPU": 1, "CPU": 1}),
        ({"resources": "gpu=1,cpu=4"}, False, {"GPU": 1, "CPU": 4}),
        ({"resources": "cpu=2,meter=1"}, True, {"CPU": 2, "meter": 1}),
        ({"accelerator": "A100"}, True, {"GPU": 1, "CPU": 1, "accelerator_type:A100": 0.001}),
        ({"resources": "gpu=0.5", "allow_shared_gpu": True}, True, {"GPU": 0.5, "CPU": 1}),
    ],
)
def test_what_a_training_asks_for(given: dict[str, Any], gpus: bool, request_: dict[str, float]) -> None:
    config = load_config(overrides={f"cluster.{name}": value for name, value in given.items()})
    assert config.cluster.request(gpus) == request_
    cluster = Cluster(config.cluster, config.cluster.request(gpus), {})
    assert cluster.device == ("cuda:0" if "GPU" in request_ else "cpu")
    assert cluster.shared is (request_.get("GPU") == 0.5)
    assert cluster.alone is ("meter" in request_)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ("gpu=0.5", "share a GPU and the energy of each cannot be told; take gpu=1, or --allow-shared-gpu"),
        ("gpu=2", "leave others idle; take gpu=1"),
        ("gpu", "'gpu' is no resource; write for example gpu=1,cpu=4"),
        ("cpu=many", "'cpu=many' is no resource"),
        ("cpu=0", "amounts above 0"),
        ("GPU=1", "write gpu for GPU"),
    ],
)
def test_what_a_training_cannot_ask_for(resources: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        load_config(overrides={"cluster.resources": resources})
    assert "\n" not in str(caught.value)


def test_shared_gpus_are_marked_and_other_components_are_not() -> None:
    pytest.importorskip("ray")
    from greennas.cluster.node import marked

    readings = [{"component": "gpu", "shared": False}, {"component": "cpu", "shared": False}]
    assert [each["shared"] for each in marked(readings, "node-1", True)] == [True, False]
    assert [each["shared"] for each in marked(readings, "node-1", False)] == [False, False]
    assert {each["node"] for each in marked(readings, "node-1", True)} == {"node-1"}


def test_the_engine_is_sent_with_the_names_of_its_spaces() -> None:
    names = [Path(folder).name for folder in engine_folders()]
    assert {"greennas", "search_spaces"} <= set(names)
    assert any(re.fullmatch(r"greennas-.*\.dist-info", name) for name in names)


def test_ray_is_imported_only_where_it_is_used() -> None:
    code = "import greennas, greennas.cli, greennas.prepare, sys; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_without_ray_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"needs Ray Tune, .* pip install 'greennas\[ray\]'"):
        connect(ClusterSettings())


# Several kinds of devices.


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, DeviceProfile]:
    """A device, and one on which everything takes three times the joules and inference five times."""
    monkeypatch.setenv("GREENNAS_HOME", str(tmp_path / "home"))
    space = load_space("nasbench201", width=4, depth=1)
    rng = np.random.default_rng(0)
    cells = [space.sample(Random(rng)) for _ in range(12)]
    costs = tuple(space.profile(cell, (1, 8, 8), 10, 64) for cell in cells)
    joules = np.array([1e-9 * cost.total_flops + 1e-4 for cost in costs])
    found = {}
    for name, train, infer in (("one", 1.0, 1.0), ("other", 3.0, 5.0)):
        factors = {"train_energy_j": train, "inference_energy_j_per_1k": infer}
        measured = {quantity: factors.get(quantity, 1.0) * joules for quantity in QUANTITIES}
        found[name] = DeviceProfile(name, Kind.MODELLED, costs, measured)
        found[name].save(default_path(name))
    return found


class Random:
    """Suggests at random."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[int(self._rng.integers(len(choices)))]


def test_energies_are_converted_by_the_ratio_of_the_profiles(profiles: dict[str, DeviceProfile]) -> None:
    exchange = Exchange.between(["other"], "one", (1, 8, 8), 10)
    assert exchange.profiles.keys() == {"one", "other"}
    space = load_space("nasbench201", width=4, depth=1)
    params = space.sample(Random(np.random.default_rng(99)))
    options = {"width": 4, "depth": 1}
    task = EvaluationTask("train", "nasbench201", "data", options, params, plan=TrainingPlan(batch_size=64))
    metrics = {"accuracy": 0.9, "train_energy_j": 30.0, "inference_energy_j_per_1k": 5.0, "latency_ms": 2.0}
    kinds = {"train_energy_j": Kind.MEASURED, "inference_energy_j_per_1k": Kind.MEASURED}
    outcome = Measurement("ok", metrics=metrics, kinds=kinds)
    found = exchange.convert(task, outcome, "other")
    assert found.metrics["train_energy_j"] == pytest.approx(10.0, rel=0.05)
    assert found.metrics["inference_energy_j_per_1k"] == pytest.approx(1.0, rel=0.05)
    assert (found.metrics["accuracy"], found.metrics["latency_ms"]) == (0.9, 2.0)
    assert set(found.kinds.values()) == {Kind.NORMALISED}
    # Also where nothing changes, so that all of a search's energies are of one kind.
    same = exchange.convert(task, outcome, "one")
    assert same.metrics["train_energy_j"] == pytest.approx(30.0)
    assert set(same.kinds.values()) == {Kind.NORMALISED}
    failed = Measurement.failed("no")
    assert exchange.convert(task, failed, "other") == failed

    probe = Probe(params, kind=Kind.MEASURED, step_energy_j=0.3, train_energy_j=30.0, evaluation_energy_j=3.0)
    probing = replace(task, work="probe", params={}, candidates=(params,))
    (converted,) = exchange.convert(probing, Measurement("ok", probes=(probe,)), "other").probes
    assert converted.train_energy_j == pytest.approx(10.0, rel=0.05)
    assert converted.kind is Kind.NORMALISED

    again = Confirmation(30.0, 27.0, 33.0, 0.95, "gpu", Kind.MEASURED, 2, 10, 1.0)
    confirming = replace(task, work="confirm", params={}, candidates=(params,), plans=(task.plan,))
    (confirmed,) = exchange.convert(confirming, Measurement("ok", confirmations=(again,)), "other").confirmations
    assert confirmed.train_energy_j == pytest.approx(10.0, rel=0.05)
    assert (confirmed.low_j or 0) < (confirmed.train_energy_j or 0) < (confirmed.high_j or 0)


def test_without_a_profile_nothing_is_converted(profiles: dict[str, DeviceProfile]) -> None:
    with pytest.raises(ConfigError, match="without a device profile of third; run 'greennas calibrate'"):
        Exchange.between(["one", "third"], "other", (1, 8, 8), 10)


def test_what_is_started_here_asks_for_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    own, next_one = authentication(ClusterSettings()), authentication(ClusterSettings())
    assert own["RAY_AUTH_MODE"] == "token"
    assert own["RAY_AUTH_TOKEN"] != next_one["RAY_AUTH_TOKEN"]
    assert authentication(ClusterSettings(address="auto")) == {}  # it has a mode of its own
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert authentication(ClusterSettings()) == {}


def test_a_device_that_came_later_needs_a_profile_too(profiles: dict[str, DeviceProfile]) -> None:
    exchange = Exchange.between(["one"], "one", (1, 8, 8), 10)
    task = EvaluationTask("train", "nasbench201", "data", {"width": 4, "depth": 1}, {}, plan=TrainingPlan())
    with pytest.raises(ConfigError, match="no device profile of other; calibrate it and start the search again"):
        exchange.convert(task, Measurement("ok"), "other")


class _Ray(ModuleType):
    """A library Ray that is connected already, or to which nobody answers."""

    def __init__(self, connected: bool) -> None:
        super().__init__("ray")
        self.tune = ModuleType("ray.tune")
        self.is_initialized = lambda: connected

    def init(self, **options: Any) -> None:
        raise ConnectionError("Failed to connect\nand more")


@pytest.mark.parametrize(
    ("connected", "words"),
    [
        (True, r"connected to Ray already; call ray\.shutdown\(\) before the search"),
        (False, r"no answer from Ray 10\.0\.0\.1:6379 \(Failed to connect\); start it with 'ray start'"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_one_sentence(
    connected: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = _Ray(connected)
    monkeypatch.setitem(sys.modules, "ray", library)
    monkeypatch.setitem(sys.modules, "ray.tune", library.tune)
    with pytest.raises(ConfigError, match=words) as caught:
        connect(ClusterSettings(address="10.0.0.1:6379"))
    assert "\n" not in str(caught.value)


def test_a_ray_that_breaks_while_it_is_imported_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray.py").write_text("raise RuntimeError('two versions of a library')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name == "ray" or name.startswith("ray.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ConfigError, match=r"two versions of a library.* into one without the extra zeus"):
        connect(ClusterSettings())
