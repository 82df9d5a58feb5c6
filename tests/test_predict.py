"""Predictions from a device profile, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import greennas, rejected

from greennas.device_profile import (
    QUANTITIES,
    DeviceProfile,
    DeviceProfileError,
    default_device,
    default_path,
    device_name,
    find,
)
from greennas.energy import Kind
from greennas.errors import GreenNASError
from greennas.predict import forecast, read_architecture
from greennas.profile import CostProfile, profile
from greennas.space import load_space

JOULES_PER_FLOP = 2e-9
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|"


@pytest.fixture(scope="module")
def networks() -> list[CostProfile]:
    from torch import nn

    sizes = (4, 8, 12, 16, 24, 32, 48, 64)
    return [
        profile(nn.Sequential(nn.Conv2d(3, a, 3), nn.ReLU(), nn.Conv2d(a, b, 1)), (3, 16, 16), 32)
        for a in sizes[::2]
        for b in sizes[1::2]
    ]


@pytest.fixture
def saved(networks: list[CostProfile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of a saved profile of this device."""
    monkeypatch.setenv("GREENNAS_HOME", str(tmp_path / "home"))
    device = device_name(default_device())
    joules = np.array([JOULES_PER_FLOP * network.training_flops for network in networks])
    measured = {name: joules * (1 + i) for i, name in enumerate(QUANTITIES)}
    path = default_path(device)
    DeviceProfile(device, Kind.MODELLED, tuple(networks), measured, {"made": "today"}).save(path)
    return path


def test_a_profile_is_found_again_as_it_was(saved: Path, networks: list[CostProfile], tmp_path: Path) -> None:
    assert saved.is_relative_to(tmp_path / "home")
    found = find(default_device())
    assert found is not None
    assert found.networks == tuple(networks)
    assert found.kind is Kind.MODELLED
    assert found.about == {"made": "today"}
    assert sorted(found.measured) == sorted(QUANTITIES)


def test_user_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GREENNAS_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path("A CPU (R) @ 2/4") == tmp_path / "greennas" / "devices" / "a-cpu-r-2-4.json"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_path("x") == Path.home() / ".local" / "share" / "greennas" / "devices" / "x.json"
    monkeypatch.setenv("GREENNAS_HOME", str(tmp_path / "nothing"))
    assert find(default_device()) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(path.read_text().replace("greennas-device-2", "greennas-device-1")),
        lambda path: path.write_text(path.read_text().replace('"depth"', '"breadth"')),
        lambda path: path.write_text(path.read_text().replace('"device_type": "c', '"device_type": "t')),
        lambda path: path.with_suffix(".npz").unlink(),
        lambda path: path.with_suffix(".npz").write_bytes(b"PK nothing"),
        lambda path: np.savez(path.with_suffix(".npz"), train_energy_j=np.array([1.0])),
    ],
)
def test_a_damaged_profile_is_one_sentence(saved: Path, damage) -> None:
    damage(saved)
    with pytest.raises(DeviceProfileError, match="damaged or none") as error:
        find(default_device())
    assert str(error.value).count("\n") == 0


def test_pickled_arrays_are_not_read(saved: Path) -> None:
    import hashlib

    arrays = {name: np.array([object()] * 16, dtype=object) for name in QUANTITIES}
    np.savez(saved.with_suffix(".npz"), **arrays)
    content = json.loads(saved.read_text())
    content["sha256"] = hashlib.sha256(saved.with_suffix(".npz").read_bytes()).hexdigest()
    saved.write_text(json.dumps(content))
    with pytest.raises(DeviceProfileError, match="allow_pickle"):
        find(default_device())


def test_a_foreign_profile_is_refused_by_name(saved: Path) -> None:
    with pytest.raises(DeviceProfileError, match="this device is 'Abacus'"):
        DeviceProfile.load(saved, "Abacus")


def test_forecast_is_of_an_epoch_and_of_1000_images(saved: Path, networks: list[CostProfile]) -> None:
    found = forecast(networks[5], find(default_device()), images=1000)
    joules = JOULES_PER_FLOP * networks[5].training_flops
    for i, name in enumerate(QUANTITIES):
        factor = 1000 if name.startswith("train") else 1
        estimate = found.predicted[name]
        assert estimate.mean == pytest.approx(factor * (1 + i) * joules, rel=0.25)
        assert estimate.low < estimate.mean < estimate.high
    assert not found.outside
    assert forecast(networks[5].times(50), find(default_device()), 1).outside


def test_without_a_profile_there_are_no_joules(networks: list[CostProfile]) -> None:
    found = forecast(networks[0], None, 10)
    assert found.predicted == {}
    assert found.to_json()["predicted"] is None
    assert forecast(networks[-1], None, 10).score > found.score


def test_architectures_are_read_as_exported_and_bare(tmp_path: Path) -> None:
    space = load_space("nasbench201", width=8)
    params = space.from_string(CELL)
    exported = space.architecture(params).to_json()
    for name, content in (("whole", exported), ("front", {"number": 3, "architecture": exported}), ("bare", params)):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(content))
        found, read = read_architecture(file, None if name != "bare" else "nasbench201")
        assert read == params
        assert found.options.get("width") == (None if name == "bare" else 8)
    found, _ = read_architecture(tmp_path / "whole.json", options={"depth": 1})
    assert found.options == {"width": 8, "depth": 1}
    for space_name, file, words in (
        ("resnet", "whole", "leave --space out"),
        (None, "bare", "--space"),
        (None, "missing", "cannot be read"),
    ):
        with pytest.raises(GreenNASError, match=words):
            read_architecture(tmp_path / f"{file}.json", space_name)


def test_command_with_a_profile(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\ndef tiny():\n    return nn.Sequential(nn.Conv2d(3, 20, 3), nn.ReLU())\n"
    )
    monkeypatch.chdir(tmp_path)
    shape = ["--input-shape", "3,16,16", "--batch-size", "32", "--images", "100"]
    done = greennas("predict", "--model", "my_nets:tiny", *shape)
    assert done.returncode == 0, done.stderr
    assert "Predicted for" in done.stdout
    assert "90% interval" in done.stdout
    assert "whose joules are modelled" in done.stdout
    data = json.loads(greennas("predict", "--model", "my_nets:tiny", *shape, "--json").stdout)
    assert data["predicted"]["train_energy_j"]["mean"] > 0
    assert data["profile"]["batch_size"] == 32


def test_command_without_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(
        json.dumps(load_space("nasbench101").from_matrix([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["maxpool3x3"]))
    )
    arguments = ["predict", "--space", "nasbench101", "--arch", str(file), "--set", "space_options.width=16"]
    done = greennas(*arguments, env={"GREENNAS_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "never calibrated" in done.stdout
    assert "Predicted" not in done.stdout
    data = json.loads(greennas(*arguments, "--json", env={"GREENNAS_HOME": str(tmp_path)}).stdout)
    assert data["predicted"] is None
    assert data["physical_score"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--arch FILE.json or --model"),
        (["--model", "nothing"], "not module:function"),
        (["--model", "no_such_module:f"], "No module named"),
        (["--model", "json:dumps"], "cannot be made"),
        (["--model", "time:time"], "makes a float"),
        (["--model", "torch.nn:Identity", "--input-shape", "3,x"], "--input-shape"),
        (["--model", "torch.nn:Identity", "--device-profile", "no.json"], "greennas calibrate"),
        (["--arch", "no.json"], "cannot be read"),
        (["--arch", "list.json"], "holds no parameters by name; give a JSON object"),
        (["--arch", "number.json"], "holds no parameters by name; give a JSON object"),
        (["--arch", "nameless.json"], "space is 5, not a name"),
        (["--arch", "cell.json", "--input-shape", "32,32"], "give their shape as in --input-shape 3,32,32"),
        (["--arch", "cell.json", "--set", "trials=3"], "no setting 'trials' here; only options of the space"),
    ],
)
def test_what_cannot_be_predicted(capsys, monkeypatch, tmp_path: Path, arguments: list[str], words: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "number.json").write_text('{"architecture": 5}')
    (tmp_path / "nameless.json").write_text('{"space": 5, "params": {}}')
    space = load_space("nasbench201")
    (tmp_path / "cell.json").write_text(json.dumps(space.architecture(space.from_string(CELL)).to_json()))
    assert words in rejected(capsys, monkeypatch, "predict", *arguments)


def test_a_profile_that_cannot_be_kept_is_one_sentence(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DeviceProfileError, match=r"cannot be written to .*; choose another place with --out"):
        DeviceProfile.load(saved).save(tmp_path / "file" / "profile.json")
    assert (tmp_path / "file").read_text() == "mine"
