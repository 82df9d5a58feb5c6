"""The conformance suite: it passes what is right, and names what is wrong and what to mend."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from greennas.cli import main
from greennas.errors import SpaceError
from greennas.space_template import write_template
from greennas.testing import Finding, Level, check_space, examine_space

GOOD = """
import random
import torch
from torch import nn
from greennas.profile import profile as walk


def sample(trial):
    return {"width": trial.suggest_categorical("width", [2, 4, 8]), "kernel": trial.suggest_int("kernel", 1, 5, step=2)}


def build(params, input_shape, num_classes):
    width, kernel = params["width"], params["kernel"]
    convolution = nn.Conv2d(input_shape[0], width, kernel, padding="same")
    return nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
"""
SAMPLE = "def sample(trial):\n    return "


def replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


WRONG = {
    "choices under one name": (
        replaced(
            SAMPLE,
            "def sample(trial):\n    if trial.suggest_int('more', 0, 1):\n"
            "        return {'width': trial.suggest_categorical('width', [16, 32]), 'kernel': 1}\n    return ",
        ),
        "sampling",
        "another name where the choices differ",
    ),
    "more than the three questions": (
        replaced(SAMPLE, "def sample(trial):\n    trial.set_user_attr('a', 1)\n    return "),
        "sampling",
        "nothing of the trial but suggest_categorical",
    ),
    "chance": (
        replaced('trial.suggest_int("kernel", 1, 5, step=2)', "random.choice([1, 3, 5])"),
        "sampling",
        "Draw nothing at random",
    ),
    "no JSON": (replaced('{"width"', '{"size": (1, 2), "width"'), "sampling", "no tuples"),
    "an exception": (replaced(SAMPLE, "def sample(trial):\n    1 / 0\n    return "), "sampling", "Mend sample"),
    "one id for all": (GOOD + "\ndef canonical(params):\n    return 'network'\n", "ids", "canonical differ"),
    "an id by the order": (
        GOOD + "\ndef canonical(params):\n    return str(list(params.values()))\n",
        "ids",
        "sort, and use neither hash",
    ),
    "a size too small": (GOOD + "\ndef size():\n    return 3\n", "ids", "Correct size()"),
    "a size that fails": (GOOD + "\ndef size():\n    return 1 / 0\n", "ids", "Mend size()"),
    "view after a convolution": (
        replaced("nn.AdaptiveAvgPool2d(1), nn.Flatten()", "View(), nn.AdaptiveAvgPool2d(1), nn.Flatten()").replace(
            "def sample",
            "class View(nn.Module):\n    def forward(self, x):\n"
            "        return x.view(x.size(0), -1).view(x.shape)\n\n\ndef sample",
        ),
        "networks",
        "reshape or flatten",
    ),
    "one shape alone": (
        replaced("nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width", "nn.Flatten(), nn.Linear(64 * width"),
        "networks",
        "images of any size",
    ),
    "wrong logits": (replaced("nn.Linear(width, num_classes)", "nn.Linear(width, 3)"), "networks", "Mend build"),
    "a dead network": (
        replaced("nn.AdaptiveAvgPool2d(1)", "nn.AdaptiveAvgPool2d(1), nn.Threshold(1e9, 0.0)"),
        "networks",
        "Mend build or the module's forward",
    ),
    "what cannot be built": (
        replaced("    width, kernel =", "    assert params['width'] < 8\n    width, kernel ="),
        "networks",
        "Let sample suggest only what build can make",
    ),
    "shared weights": (
        replaced("    width, kernel =", "    width, kernel =").replace("def build", "LAST = {}\n\n\ndef build").replace(
            "nn.Linear(width, num_classes)", "LAST.setdefault((width, num_classes), nn.Linear(width, num_classes))"
        ),
        "networks",
        "Make new modules in every call",
    ),
    "a wrong closed form": (
        GOOD + "\ndef profile(params, input_shape, num_classes, batch_size):\n"
        "    return walk(build({**params, 'kernel': 1}, input_shape, num_classes), input_shape, batch_size)\n",
        "profile",
        "until it equals greennas.profile",
    ),
    "different networks as one": (
        GOOD + "\ndef canonical(params):\n    return str(params['width'])\n",
        "equal networks",
        "canonical differ for networks that are not the same",
    ),
    "an unknown setting": (
        GOOD + "\ndef training(params):\n    return {'epochs': 3}\n",
        "what the space says beside",
        "batch_size, learning_rate",
    ),
    "a batch of one image": (
        GOOD + "\ndef training(params):\n    return {'batch_size': 1}\n",
        "what the space says beside",
        "another batch_size",
    ),
    "half an image": (
        GOOD + "\ndef training(params):\n    return {'batch_size': 32.5}\n",
        "what the space says beside",
        "another batch_size",
    ),
    "features that are no numbers": (
        GOOD + "\ndef features(params):\n    return {'width': float('nan')}\n",
        "what the space says beside",
        "finite numbers",
    ),
}  # fmt: skip


def examined(file: Path, text: str, fresh_process: bool = False) -> list[Finding]:
    file.write_text(text)
    return examine_space(str(file), samples=30, networks=3, fresh_process=fresh_process)


def test_a_good_space_passes(tmp_path: Path) -> None:
    found = examined(tmp_path / "good.py", GOOD)
    assert {finding.level for finding in found} == {Level.OK}
    assert len({finding.check for finding in found}) == len(found) == 7
    check_space(str(tmp_path / "good.py"), samples=30, networks=2, fresh_process=False, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        replaced("nn.Conv2d(input_shape[0], ", "nn.LazyConv2d(").replace("nn.Linear(width, ", "nn.LazyLinear("),
        GOOD + "\ndef size():\n    return None\n",
    ],
)
def test_lazy_layers_and_a_size_that_is_not_said_pass(tmp_path: Path, text: str) -> None:
    assert {finding.level for finding in examined(tmp_path / "good.py", text)} == {Level.OK}


@pytest.mark.parametrize("answers", [("4", "3"), ("trial.suggest_int('width', 4, 4)", "3")])
def test_one_network_is_advice(tmp_path: Path, answers: tuple[str, str]) -> None:
    text = replaced('trial.suggest_categorical("width", [2, 4, 8])', answers[0]).replace(
        'trial.suggest_int("kernel", 1, 5, step=2)', answers[1]
    )
    found = [finding for finding in examined(tmp_path / "one.py", text) if finding.level is not Level.OK]
    assert [(finding.check, finding.level) for finding in found] == [("search", Level.ADVICE)]
    assert "nothing to search" in found[0].text


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_what_to_mend(tmp_path: Path, name: str) -> None:
    text, check, remedy = WRONG[name]
    errors = [finding for finding in examined(tmp_path / "wrong.py", text) if finding.level is Level.ERROR]
    assert check in {finding.check for finding in errors}
    assert any(remedy in finding.remedy for finding in errors if finding.check == check), errors
    with pytest.raises(AssertionError, match="error: "):
        check_space(str(tmp_path / "wrong.py"), samples=30, networks=3, fresh_process=False)


def test_networks_with_two_ids_and_weights_without_use_are_advice(tmp_path: Path) -> None:
    twice = replaced('{"width"', '{"name": trial.suggest_categorical("name", ["a", "b"]), "width"')
    unused = twice.replace("convolution = ", "nn.Linear(2, 2); convolution = ").replace(
        "return nn.Sequential(", "network = nn.Sequential("
    )
    unused += "    network[0].spare = nn.Linear(2, 2)\n    return network\n"
    advice = [finding for finding in examined(tmp_path / "better.py", unused) if finding.level is not Level.OK]
    assert {finding.level for finding in advice} == {Level.ADVICE}
    assert {finding.check for finding in advice} == {"networks", "equal networks"}
    check_space(str(tmp_path / "better.py"), samples=30, networks=2, fresh_process=False)
    with pytest.raises(AssertionError, match=r"advice: equal networks: .* the same network with two ids"):
        check_space(str(tmp_path / "better.py"), samples=30, networks=2, fresh_process=False, strict=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "\ndef canonical(params):\n    return str(hash(str(sorted(params.items()))))\n", "other ids"),
        ("import neighbour\n" + GOOD, "cannot load the space"),
    ],
)
def test_what_fails_only_in_a_worker_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / "neighbour.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    errors = [each for each in examined(tmp_path / "wrong.py", text, fresh_process=True) if each.level is Level.ERROR]
    assert [finding.check for finding in errors] == ["workers"]
    assert message in errors[0].text


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """Exit code of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["greennas", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_template_passes_strictly_and_has_an_option(tmp_path: Path) -> None:
    path = write_template(tmp_path / "mine.py")
    check_space(str(path), samples=40, networks=3, fresh_process=False, strict=True)
    assert 'suggest_int("depth"' in path.read_text()
    code = [line for line in path.read_text().splitlines() if line and not line.startswith(("#", '"""'))]
    assert len(code) <= 20


@pytest.mark.parametrize(("name", "message"), [("mine.txt", r"\.py"), ("there.py", "already"), ("no/a.py", "folder")])
def test_a_template_overwrites_nothing(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there.py").write_text("mine")
    with pytest.raises(SpaceError, match=message):
        write_template(tmp_path / name)
    assert (tmp_path / "there.py").read_text() == "mine"


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "mine.py")
    assert run(monkeypatch, "spaces", "new", path) == 0
    assert f"greennas spaces check {path}" in capsys.readouterr().out.replace("\n", "")
    small = ["--samples", "20", "--networks", "1", "--input-shape", "1,8,8"]
    assert run(monkeypatch, "spaces", "check", path, "--set", "space_options.dropout=0.1", *small) == 0
    shown = capsys.readouterr().out
    assert "another process loads the space" in shown
    assert "mine: a search can use it." in shown
    Path(path).write_text(WRONG["a size too small"][0])
    assert run(monkeypatch, "spaces", "check", path, *small) == 1
    assert "Correct size()" in capsys.readouterr().out
    assert run(monkeypatch, "spaces", "check", path, "--json", *small) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert [each["check"] for each in told["findings"] if each["level"] == "error"] == ["ids"]


@pytest.mark.parametrize(
    "args", [("check", "nasbench999"), ("check", "nasbench201", "--input-shape", "8,8"), ("new", "mine.txt")]
)
def test_bad_input_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: tuple[str, ...]
) -> None:
    assert run(monkeypatch, "spaces", *args) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
