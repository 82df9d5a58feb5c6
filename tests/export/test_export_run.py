"""Exports of a run by pick, through the command line; what cannot be exported is said in one sentence."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
import yaml
from export_networks import SMALL, checkpoint_of
from modules import module_from

import greennas
from greennas.checkpoint import FORMAT as CHECKPOINT
from greennas.cli import main
from greennas.config import ConstraintSettings
from greennas.data import Dataset
from greennas.errors import ConfigError, DataError, ExportError, RunError, SpaceError
from greennas.export.bill import BILL
from greennas.export.card import model_card
from greennas.export.description import FORMAT
from greennas.export.folder import export_model
from greennas.export.python import python_code
from greennas.export.source import open_source
from greennas.export.verify import Check
from greennas.pick import energy_of, pick
from greennas.results import SearchResult
from greennas.run import RunFolder
from greennas.tensorfile import write_tensors


def result_of(run: Path) -> SearchResult:
    folder = RunFolder.open(run)
    return SearchResult(folder.config, folder.read_study(), run)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["greennas", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_a_run_is_exported_by_pick_with_its_card(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    arguments = ("--to", out, "--pick", "most-accurate", "--format", "python", "--grid-intensity", "FRA", "--json")
    assert command(monkeypatch, "export", run, *arguments) == 0
    done = json.loads(capsys.readouterr().out)
    trial = max(result_of(run).front, key=lambda each: each.metrics["accuracy"] or 0)
    assert done["architecture_id"] == trial.architecture_id
    assert done["files"] == ["README.md", "architecture.json", "model.py", "model.safetensors"]
    assert done["accuracy"] == {
        "validation": pytest.approx(trial.metrics["accuracy"]),
        "test": pytest.approx(trial.test["accuracy"]),
    }
    _, head, card = (out / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(head)
    assert about["datasets"] == ["digits"]
    assert about["pipeline_tag"] == "image-classification"
    values = {m["name"]: m["value"] for m in about["model-index"][0]["results"][0]["metrics"]}
    assert values["test accuracy"] == pytest.approx(trial.test["accuracy"], abs=1e-5)
    emissions = about["co2_eq_emissions"]
    bill = result_of(run).cost.totals()
    (joules,) = [total.energy_j for total in bill.values()]
    assert joules is not None
    grams = float(emissions["source"].split(" at ")[1].split(" g/kWh")[0]) * joules / 3.6e6
    assert emissions["emissions"] == pytest.approx(grams, rel=1e-3)
    assert emissions["geographical_location"] == "France"
    assert "modelled" in card
    assert "from model import load, preprocess" in card
    assert "onnxruntime" not in card
    written = json.loads((out / "architecture.json").read_text())
    assert written["energy"]["train_energy_j"]["kind"] == "modelled"
    assert written["energy"]["train_energy_j"]["value"] == pytest.approx(energy_of(trial))


def test_the_commands_in_the_report_work(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (run / "report.html").read_text()
    commands = [
        shlex.split(html.unescape(found)) for found in re.findall(r"<code>(greennas (?:export|train) .*?)</code>", page)
    ]
    knee = result_of(run).knee
    assert knee is not None
    exports = [each for each in commands if each[1] == "export" and knee.architecture_id in each]
    (train,) = [each for each in commands if each[1] == "train"]
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *exports[0][1:], "--format", "pytorch") == 0
    assert greennas.export.read_description("model").architecture == knee.architecture
    assert command(monkeypatch, *train[1:], "--dry-run", "--out", "trained") == 0


def test_a_checkpoint_of_a_run_is_exported_with_what_its_run_knows(run: Path) -> None:
    trial = result_of(run).front[0]
    by_pick = open_source(run, trial.architecture_id)
    by_file = open_source(run / "checkpoints" / f"{trial.architecture_id}.safetensors")
    assert by_file.description == by_pick.description
    assert by_file.bill == by_pick.bill
    assert by_file.description.accuracy["test"] == trial.test["accuracy"]


def test_emissions_stand_in_the_card_only_where_the_grid_is_known(run: Path, tmp_path: Path) -> None:
    export_model(run, tmp_path / "a", formats=["pytorch"])
    assert "co2_eq_emissions" not in (tmp_path / "a" / "README.md").read_text()
    assert "No gCO2e: the grid intensity was not given" in (tmp_path / "a" / "README.md").read_text()


def test_paths_of_ones_own_machine_stand_in_no_card(run: Path) -> None:
    source = open_source(run)
    check = Check("python", 10, 0.0, 1e-4, 1.0)
    for name, shown in (("folder:/home/me/birds/", "birds"), ("hf:somebody/birds", "somebody/birds")):
        about = replace(source.description, dataset=name)
        card = model_card(replace(source, description=about), [check])
        head = yaml.safe_load(card.split("---\n")[1])
        assert head["model-index"][0]["results"][0]["dataset"]["name"] == shown
        assert head.get("datasets") == (None if "home" in name else [shown])
        assert "/home" not in card + python_code(source.network, about)


def test_a_model_folder_is_exported_again(run: Path, tmp_path: Path) -> None:
    first = export_model(run, tmp_path / "a", formats=["pytorch"])
    second = export_model(first.path, tmp_path / "b", formats=["pytorch"])
    assert second.description == first.description
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_picks(run: Path) -> None:
    result = result_of(run)
    front = result.front
    accuracy = {trial.number: trial.metrics["accuracy"] or 0.0 for trial in front}
    energy = {trial.number: energy_of(trial) or 0.0 for trial in front}
    assert pick(result, "knee") is result.knee
    assert accuracy[pick(result, "most-accurate").number] == max(accuracy.values())
    assert energy[pick(result, "least-energy").number] == min(energy.values())
    for trial in result.completed:
        assert pick(result, trial.architecture_id) is trial
        assert pick(result, trial.architecture_id[:8]) is trial
    limit = max(accuracy.values())
    chosen = pick(result, f"accuracy >= {limit!r}")
    assert energy[chosen.number] == min(energy[number] for number, value in accuracy.items() if value >= limit)
    loose = pick(result, "accuracy>=0.01")
    assert energy[loose.number] == min(energy.values())
    cheap = pick(result, f"train_energy_j<={max(t.metrics['train_energy_j'] or 0 for t in front)!r}")
    assert accuracy[cheap.number] == max(accuracy.values())
    limited = result.config.model_copy(update={"constraints": ConstraintSettings(max_energy_j=1e-9)})
    none = SearchResult(limited, RunFolder.open(run).read_study(), run)
    for choice in ("knee", "accuracy>=0.1"):
        with pytest.raises(RunError, match="keeps the constraints, so its front is empty; search longer"):
            pick(none, choice)
    assert pick(none, none.completed[0].architecture_id) is none.completed[0]
    begun = SearchResult(result.config, optuna.create_study(directions=["maximize", "minimize"]), run)
    with pytest.raises(RunError, match="has run to its end yet; go on with --resume"):
        pick(begun, "knee")
    with pytest.raises(RunError, match=r"keeps accuracy>1: its accuracy goes from 0\.\d+ to 0\.\d+"):
        pick(result, "accuracy>1")
    for choice, message in (
        ("best", "'best' is no network of"),
        ("ffff", "'ffff' is no network of"),
        ("speed>1", "have no metric 'speed'; choose from accuracy, "),
        ("accuracy>high", "'high' is not a number"),
    ):
        with pytest.raises(ConfigError, match=message):
            pick(result, choice)


def unfinished(run: Path, to: Path) -> Path:
    """The run as it would be if it had been stopped before its front was tested."""
    shutil.copytree(run, to)
    journal = to / "study.journal"
    lines = [line for line in journal.read_text().splitlines() if '"tests"' not in line]
    journal.write_text("\n".join(lines) + "\n")
    return to


def test_a_run_whose_front_is_empty_or_whose_weights_are_gone_is_not_called_unfinished(
    run: Path, tmp_path: Path
) -> None:
    limited = shutil.copytree(run, tmp_path / "limited")
    config = limited / "config.yaml"
    config.write_text(config.read_text().replace("max_energy_j: null", "max_energy_j: 1.0e-09"))
    with pytest.raises(RunError, match="keeps the constraints, so its front is empty; search longer"):
        open_source(limited)
    gone = shutil.copytree(run, tmp_path / "gone")
    for file in (gone / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(RunError, match=r"The weights of [0-9a-f]{12} are gone from .*; train it with"):
        open_source(gone)


def test_what_cannot_be_exported_is_said_in_a_sentence_with_exit_code_2(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "mine.txt").write_text("mine")
    empty = tmp_path / "empty"
    empty.mkdir()
    garbled = tmp_path / "garbled"
    garbled.mkdir()
    (garbled / "architecture.json").write_text("{")
    half = unfinished(run, tmp_path / "half")
    (tmp_path / "file").write_text("mine")
    knee = open_source(run).description.to_json()
    worded = {**knee, "accuracy": {"test": "high"}}
    for name, content in (
        ("list", []),
        ("old", {"format": "x"}),
        ("lacking", {"format": FORMAT}),
        ("worded", worded),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "architecture.json").write_text(json.dumps(content))
    facts = {"format": CHECKPOINT, "dataset": "digits"}
    for name, metadata in (("foreign", {}), ("facts", {**facts, "plan": "{"}), ("few", facts)):
        write_tensors(tmp_path / f"{name}.safetensors", {"weight": torch.zeros(1)}, metadata)
    new = tmp_path / "new"
    off_front = {trial.architecture_id for trial in result_of(run).completed}
    off_front -= {trial.architecture_id for trial in result_of(run).front}
    cases = [
        ((run, "--to", new, "--pick", "best"), "'best' is no network of"),
        ((tmp_path / "nothing", "--to", new), "There is no"),
        ((empty, "--to", new), "is neither a run folder nor a model folder"),
        ((garbled, "--to", new), "is not JSON"),
        ((run / "config.yaml", "--to", new), "is not a whole safetensors file"),
        ((half, "--to", new), "is not finished; go on with: greennas search --resume"),
        ((run, "--to", occupied), "exists already; choose another --to"),
        ((run, "--to", tmp_path / "file" / "new"), "(File exists); choose another --to"),
        ((tmp_path / "list", "--to", new), "does not describe a model; export the model again"),
        ((tmp_path / "old", "--to", new), "of the format 'x', not"),
        ((tmp_path / "lacking", "--to", new), "lacks or garbles 'input_shape'; export the model again"),
        ((tmp_path / "worded", "--to", new), "garbles test, which is 'high' and no number; export the model again"),
        ((tmp_path / "foreign.safetensors", "--to", new), "give a file of a run's checkpoints/"),
        ((tmp_path / "facts.safetensors", "--to", new), "cannot be read"),
        ((tmp_path / "few.safetensors", "--to", new), "lacks or garbles 'input_shape'; train the network again"),
        ((run, "--to", new, "--format", "tflite"), "There is no format 'tflite'; choose all or some of pytorch"),
        ((run, "--to", new, "--grid-intensity", "Atlantis"), "There is no grid intensity for 'Atlantis'"),
        *(((run, "--to", new, "--pick", each), "train it with: greennas train") for each in sorted(off_front)[:1]),
    ]
    for arguments, message in cases:
        assert command(monkeypatch, "export", *arguments) == 2
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.err.startswith("Error: ")
        assert shown.err.count("\n") == 1
        assert not new.exists()
    assert (tmp_path / "file").read_text() == "mine"
    assert command(monkeypatch, "train", half) == 2
    assert "is not finished" in capsys.readouterr().err
    assert command(monkeypatch, "train", tmp_path / "nothing") == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_the_forecast_is_shown_before_a_training_and_alone_with_dry_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = pick(result_of(run), "most-accurate").architecture_id
    other = next(trial for trial in result_of(run).completed if trial.architecture_id != best).architecture_id
    taught = ("--teacher", "most-accurate", "--pick", other)
    assert command(monkeypatch, "train", run, "--epochs", 3, "--dry-run", *taught) == 0
    shown = capsys.readouterr().out
    assert f"{other} is trained for 3 epochs" in shown
    assert "modelled (" in shown
    assert f"Its teacher {best} is trained first" in shown
    assert command(monkeypatch, "train", run, "--epochs", 3, "--dry-run", "--json", "--set", "seed=9") == 0
    forecast = json.loads(capsys.readouterr().out)
    assert forecast["kind"] == "modelled"
    assert forecast["low_j"] < forecast["energy_j"] < forecast["high_j"]


def test_missing_packages_are_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"needs the package onnxscript; run pip install"):
        export_model(run, tmp_path / "out", formats=["onnx"])
    assert not (tmp_path / "out").exists()


def test_a_space_of_ones_own_is_exported_and_needed_by_from_pretrained_alone(
    small_space: str, tmp_path: Path, digits: Dataset
) -> None:
    network = checkpoint_of(small_space, tmp_path / "c.safetensors", digits)
    done = export_model(tmp_path / "c.safetensors", tmp_path / "out", formats=["python"])
    assert str(tmp_path) not in (done.path / "README.md").read_text()
    Path(small_space).unlink()
    with pytest.raises(SpaceError, match=r"cannot be loaded: .* The folder's model.py, model.pt2"):
        greennas.from_pretrained(done.path)
    model = module_from(done.path / "model.py")
    images = digits.validation.images[:3]
    normalised = (images.float() / 255 - digits.mean[0]) / digits.std[0]
    assert torch.allclose(model.load()(model.preprocess(images)), network(normalised), atol=1e-6)


def test_weights_of_another_network_do_not_load(tmp_path: Path, digits: Dataset) -> None:
    for name in ("nasbench201", "resnet"):
        checkpoint_of(name, tmp_path / f"{name}.safetensors", digits, **SMALL[name])
        network, about = greennas.export.load_model(tmp_path / f"{name}.safetensors")
        greennas.save_pretrained(network, tmp_path / name, about)
    shutil.copy(tmp_path / "resnet" / "model.safetensors", tmp_path / "nasbench201")
    with pytest.raises(DataError, match="is of another network"):
        greennas.from_pretrained(tmp_path / "nasbench201")


def test_data_of_other_classes_are_refused(tmp_path: Path, digits: Dataset) -> None:
    nine = replace(digits, num_classes=9, class_names=digits.class_names[:9])
    checkpoint_of("nasbench201", tmp_path / "c.safetensors", nine, **SMALL["nasbench201"])
    with pytest.raises(DataError, match=r"in 10 classes, and the network was trained on .* in 9; check --data-dir"):
        export_model(tmp_path / "c.safetensors", tmp_path / "out", formats=["pytorch"])
    assert not (tmp_path / "out").exists()


def test_model_folders_that_cannot_be_kept_or_read(tmp_path: Path, digits: Dataset) -> None:
    checkpoint_of("nasbench201", tmp_path / "c.safetensors", digits, **SMALL["nasbench201"])
    network, about = greennas.export.load_model(tmp_path / "c.safetensors")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\); choose another"):
        greennas.save_pretrained(network, tmp_path / "file" / "model", about)
    with pytest.raises(DataError, match=r"is not a model folder .*; give the --to of 'greennas export'"):
        greennas.from_pretrained(tmp_path / "nothing")
    greennas.save_pretrained(network, tmp_path / "model", about)
    (tmp_path / "model" / BILL).write_text('{"cost": {}}')
    with pytest.raises(DataError, match=r"The bill .* cannot be read .*; remove it, or train the network again"):
        export_model(tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()
