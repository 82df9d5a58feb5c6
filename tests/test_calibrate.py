"""Calibration with small networks on the digits, and what searches and predictions make of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import FAST, greennas, rejected

from greennas.calibrate import Calibration, calibrate, cross_validate, default_configs
from greennas.config import load_config
from greennas.device_profile import QUANTITIES, DeviceProfile, default_device, find
from greennas.energy import Kind
from greennas.errors import GreenNASError
from greennas.predictors import EnergyPredictor
from greennas.predictors.spread import choose_spread
from greennas.prepare import prepare
from greennas.profile import CostProfile, profile


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Calibration, Path]:
    home = tmp_path_factory.mktemp("calibrated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENNAS_HOME", str(home))
        seen: list[str] = []
        config = load_config(overrides={"space": "nasbench201", "data": "digits"})
        found = calibrate([config], 6, on_progress=lambda done, total, name: seen.append(f"{done}/{total}"))
    assert seen == [f"{i}/6" for i in range(1, 7)]
    return found, home


def test_profile_is_saved_where_searches_look(calibrated, monkeypatch: pytest.MonkeyPatch) -> None:
    found, home = calibrated
    assert found.path.is_relative_to(home)
    assert found.path.with_suffix(".npz").is_file()
    monkeypatch.setenv("GREENNAS_HOME", str(home))
    saved = find("cpu")
    assert saved is not None
    assert len(saved.networks) == 6
    assert found.energy_j > 0
    for name in QUANTITIES:
        np.testing.assert_array_equal(saved.measured[name], found.profile.measured[name])
        assert 0 <= found.coverage[name] <= 1
        assert saved.about["median_relative_error"][name] == found.errors[name] > 0


def test_inference_costs_less_than_training(calibrated) -> None:
    measured = calibrated[0].profile.measured
    assert np.median(measured["inference_energy_j_per_1k"] / (1000 * measured["train_energy_j"])) < 1


def test_search_begins_with_the_profile(calibrated, tmp_path: Path) -> None:
    _, home = calibrated
    done = greennas("search", "--trials", "4", "--out", str(tmp_path / "run"), *FAST, env={"GREENNAS_HOME": str(home)})
    assert done.returncode == 0, done.stderr
    assert "this device's profile" in done.stderr


def test_a_damaged_profile_does_not_stop_a_search(calibrated, tmp_path: Path, monkeypatch) -> None:
    path, home = calibrated[0].path, tmp_path / "home"
    copy = home / path.relative_to(calibrated[1])
    copy.parent.mkdir(parents=True)
    copy.write_text(path.read_text()[:100])
    monkeypatch.setenv("GREENNAS_HOME", str(home))
    setup = prepare(load_config())
    found, sentence = setup.calibration()
    assert found is None
    assert "damaged" in (sentence or "")
    copy.write_text(path.read_text().replace(f'"device": {json.dumps(calibrated[0].profile.device)}', '"device": "X"'))
    copy.with_suffix(".npz").write_bytes(path.with_suffix(".npz").read_bytes())
    assert "is of 'X'" in (setup.calibration()[1] or "")


def test_the_sampler_predicts_energy_from_the_profile(calibrated, monkeypatch) -> None:
    monkeypatch.setenv("GREENNAS_HOME", str(calibrated[1]))
    setup = prepare(load_config())
    found, _ = setup.calibration()
    assert found is not None
    cost = found.networks[0]
    scale = 17.0
    prior = found.predictors["train_energy_j"]
    predictor = EnergyPredictor(prior).fit([cost], [scale * found.measured["train_energy_j"][0]])
    others = list(found.networks[1:])
    ratio = predictor.predict(others).mean_j / prior.predict(others).mean_j
    assert 0.3 * scale < np.median(ratio) < 3 * scale


@pytest.mark.parametrize("networks", [1, 4])
def test_too_few_networks_are_refused(networks: int, capsys, monkeypatch) -> None:
    assert "too few" in rejected(capsys, monkeypatch, "calibrate", "--networks", str(networks))


def test_a_space_whose_networks_fail_is_said(small_space: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAULTS", "hungry")
    config = load_config(overrides={"space": small_space, "data": "digits"})
    with pytest.raises(GreenNASError, match="Only 0 networks could be measured"):
        calibrate([config], 5, tmp_path / "profile.json")
    assert not (tmp_path / "profile.json").exists()


def test_the_default_mix_is_of_several_spaces_and_sizes() -> None:
    configs = default_configs(seed=3)
    assert len({config.space for config in configs}) == 4
    assert {config.data.resolution for config in configs} == {None, 32}
    assert {config.seed for config in configs} == {3}


def test_cross_validation_predicts_what_it_has_not_seen() -> None:
    networks = _chains(24)
    joules = np.array([3e-9 * each.training_flops + 1e-8 * each.activation_bytes for each in networks])
    error, coverage = cross_validate(networks, joules)
    assert error < 0.2
    assert coverage > 0.6
    noisy = joules * np.exp(np.random.default_rng(0).normal(0, 1, 24))
    assert cross_validate(networks, noisy)[0] > 0.25


def test_times_help_to_predict_the_energies_of_a_device() -> None:
    networks, rng = _chains(32), np.random.default_rng(0)
    seconds = np.array([3e-11 * each.training_flops + 1e-10 * each.activation_bytes for each in networks])
    joules = 100 * seconds * np.exp(rng.normal(0, 0.3, 32))
    measured = {name: seconds if "seconds" in name else joules for name in QUANTITIES}
    kept = {name: values[:24] for name, values in measured.items()}
    predictors = DeviceProfile("device", Kind.MEASURED, tuple(networks[:24]), kept).predictors
    alone = EnergyPredictor().fit(networks[:24], joules[:24])
    for name in ("train_energy_j", "inference_energy_j_per_1k"):
        errors = [
            np.abs(np.log(each.predict(networks[24:]).mean_j / (100 * seconds[24:]))).mean()
            for each in (predictors[name], alone)
        ]
        assert errors[0] < 0.9 * errors[1]
    assert cross_validate(networks, joules, seconds)[0] < cross_validate(networks, joules)[0]


def test_spread_stands_for_most_and_repeats() -> None:
    networks = _chains(60)
    chosen = choose_spread(networks, 6, seed=1)
    assert len(set(chosen)) == len(chosen) == 6
    assert chosen == choose_spread(networks, 6, seed=1)
    flops = np.log([each.total_flops for each in networks])
    gaps = [np.abs(flops[chosen] - each).min() for each in flops]
    assert np.quantile(gaps, 0.9) < 0.2 * np.ptp(flops)
    assert choose_spread(networks[:3], 6) == [0, 1, 2]


def _chains(count: int) -> list[CostProfile]:
    from torch import nn

    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        a, b = (int(value) for value in rng.integers(4, 64, 2))
        kernel = int(rng.choice([1, 3, 5]))
        layers = nn.Sequential(nn.Conv2d(3, a, kernel), nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 1))
        found.append(profile(layers, (3, 16, 16), 32))
    return found


def test_command_prints_errors_and_the_path(tmp_path: Path) -> None:
    out = tmp_path / "here.json"
    done = greennas("calibrate", "--space", "nasbench201", "--networks", "5", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "median error" in done.stdout
    assert str(out) in done.stdout.replace("\n", "")
    assert done.stderr.count("/5 ") == 5
    profile = DeviceProfile.load(out)
    assert profile.kind in (Kind.MODELLED, Kind.MEASURED)
    assert profile.device_type == default_device().partition(":")[0]
    model = ["--model", "torch.nn:Identity", "--input-shape", "1,8,8", "--device-profile", str(out), "--json"]
    assert json.loads(greennas("predict", *model).stdout)["networks_measured"] == 5
