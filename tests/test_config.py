from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from greennas.config import SearchConfig, load_config
from greennas.energy.units import parse_duration
from greennas.errors import ConfigError
from greennas.training.rung import Rung


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text("trials: 5\ndata: {name: mnist, dir: /data}\ntraining: {epochs: 3}\n")
    config = load_config(file, ["training.epochs=6", "space_options.width=8"], {"trials": 7, "seed": None})
    assert (config.trials, config.training.epochs, config.space_options) == (7, 6, {"width": 8})
    assert (config.data.name, config.data.dir, config.seed) == ("mnist", Path("/data"), 0)


def test_data_and_objectives_have_short_forms() -> None:
    config = load_config(overrides={"data": "cifar10", "objectives": "accuracy,latency_ms:min,parameters"})
    assert config.data.name == "cifar10"
    assert config.directions == ["maximize", "minimize", "minimize"]
    assert load_config(overrides={"data": "mnist"}, assignments=["data.resolution=16"]).data.name == "mnist"


def test_resolved_settings_survive_the_file(tmp_path: Path) -> None:
    config = load_config(overrides={"objectives": "accuracy,flops", "training.rungs": [1, 2], "data.dir": "/x"})
    file = tmp_path / "config.yaml"
    file.write_text(config.to_yaml())
    assert load_config(file) == config
    assert yaml.safe_load(file.read_text())["objectives"] == ["accuracy:max", "flops:min"]


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("training.epoch=3", "no setting 'training.epoch'"),
        ("training.epochs=0", "training.epochs .given: 0."),
        ("training.rungs=[12]", "rungs .12. have to lie between 1 and epochs - 1 = 11"),
        ("training.epochs", "is not key=value"),
        ("trials=[1", "not valid YAML"),
        ("objectives=accuracy", "two or three"),
        ("objectives=accuracy,accuracy", "two or three"),
        ("objectives='accuracy,joules'", "no metric 'joules'"),
        ("objectives='accuracy:up,flops'", "direction of accuracy"),
        ("workers=0", "setting workers"),
        ("energy.confirm=1", "take 2 or more, or 0"),
        ("device=tpu", "setting device"),
        ("training=3", "setting training .given: 3."),
        ("training=null", "setting training is not valid"),
        ("data=[mnist]", "setting data is not valid"),
        ("screen=[]", "setting screen is not valid"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(assignment: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_config(assignments=[assignment])
    assert "\n" not in str(caught.value)


def test_a_wrong_file_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml cannot be read"):
        load_config(tmp_path / "missing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("trials: 3\n  epochs: [")
    with pytest.raises(ConfigError, match="not valid YAML in line"):
        load_config(broken)
    broken.write_text("- trials")
    with pytest.raises(ConfigError, match="settings by name"):
        load_config(broken)


def test_without_a_setting_there_are_no_rungs(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("training:\n  epochs: 8\n  rungs:\n")
    assert load_config(file).training.ordered_rungs == load_config().training.ordered_rungs == ()


def test_a_list_is_asked_for_in_words_of_yaml() -> None:
    with pytest.raises(ConfigError, match=r"rungs \(given: 'half'\) is not valid: it has to be a list"):
        load_config(assignments=["training.rungs=half"])


def test_rungs_stand_in_the_order_in_which_a_network_comes_to_them(tmp_path: Path) -> None:
    given = "training.rungs=[4, {epochs: 3, resolution: 14}, 2, {epochs: 1, data_share: 0.5}, 4]"
    config = load_config(assignments=["training.epochs=8", given])
    short = Rung(3, resolution=14), Rung(1, data_share=0.5)
    assert config.training.ordered_rungs == (*short, Rung(2), Rung(4))
    file = tmp_path / "config.yaml"
    file.write_text(config.to_yaml())
    assert load_config(file) == config


@pytest.mark.parametrize(
    ("rungs", "sentence"),
    [
        ("[{epochs: 2, resolutoin: 14}]", r"'resolutoin': 14} is no rung; write a number of epochs, or {epochs: 2"),
        ("[{resolution: 14}]", "is no rung; write a number of epochs"),
        ("[soon]", "'soon' is no rung"),
        ("[0]", "A rung's epochs is 0; it must be above 0"),
        ("[{epochs: 1, resolution: 2}]", "A rung's resolution is 2; it must be 4 pixels or more"),
        ("[{epochs: 1, data_share: 1.5}]", "A rung's data_share is 1.5; it must be above 0 to 1"),
    ],
)
def test_what_is_no_rung_is_named(rungs: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(assignments=[f"training.rungs={rungs}"])


def test_the_default_space_on_the_default_data_is_small() -> None:
    quick = SearchConfig()
    assert (quick.space_options, quick.training.epochs) == ({"width": 4, "depth": 1}, 12)
    assert load_config(assignments=["training.epochs=2"]).space_options == quick.space_options
    assert load_config(assignments=["space_options.width=8"]).space_options == {"width": 8}
    for other in ({"data": "mnist"}, {"space": "resnet"}):
        config = load_config(overrides=other)
        assert (config.space_options, config.training.epochs) == ({}, 4)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "5 parsecs", "-3m", "0"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="not a duration"):
        parse_duration(text)
