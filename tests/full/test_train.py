"""Networks of a run trained to the end: forecast, the best epoch, a kill in between, a teacher, budgets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import greennas
from greennas.carbon import Phase
from greennas.data import load_data
from greennas.energy import total
from greennas.errors import ConfigError, DataError, RunError
from greennas.export.bill import read_bill, read_training_bill
from greennas.export.pretrained import read_description
from greennas.export.source import open_source
from greennas.full import Trained, prepare_training, train_to_the_end
from greennas.full.state import STATE
from greennas.results import SearchResult
from greennas.run import RunFolder
from greennas.tensorfile import read_tensors, write_tensors
from greennas.trainer import TrainingPlan, evaluate_accuracy
from greennas.training.distillation import Distillation
from greennas.training.loop import TrainingLoop
from greennas.training.schedule import learning_rate

FAST = ["training.learning_rate=0.1", "training.batch_size=64"]


def result_of(run: Path) -> SearchResult:
    folder = RunFolder.open(run)
    return SearchResult(folder.config, folder.read_study(), run)


def train(run: Path, out: Path, *, epochs: int = 6, tell: Callable[[str], None] = lambda _: None) -> Trained:
    return train_to_the_end(prepare_training(run, epochs=epochs, assignments=FAST, out=out), tell=tell)


@pytest.fixture(scope="module")
def trained(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(finished_run, tmp_path_factory.mktemp("full") / "trained")


def test_the_best_epoch_in_validation_is_kept_and_tested(trained: Trained) -> None:
    facts = json.loads((trained.path / "training.json").read_text())
    accuracies = [epoch["accuracy"] for epoch in facts["history"]]
    assert len(accuracies) == 6
    assert trained.best.accuracy == max(accuracies) == trained.description.accuracy["validation"]
    assert facts["history"][round(trained.best.epoch) - 1]["accuracy"] == max(accuracies)
    digits = load_data("digits")
    network = greennas.from_pretrained(trained.path)
    assert digits.test is not None
    for split, images in (("validation", digits.validation), ("test", digits.test)):
        accuracy, _ = evaluate_accuracy(network, images, digits)
        assert accuracy == pytest.approx(trained.description.accuracy[split])
    assert trained.description.training["epochs"] == 6
    assert trained.description.training["schedule"] == "cosine"
    assert not (trained.path / "state.safetensors").exists()


def test_its_energy_is_metered_and_on_the_bill(run: Path, trained: Trained) -> None:
    figure = trained.description.energy["train_energy_j"]
    assert str(figure.kind) == "modelled"
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low < figure.value < figure.high
    rows = trained.bill.by_phase()
    assert {Phase.TRAINING, Phase.EVALUATION, Phase.OVERHEAD, Phase.TEST} == set(rows)
    assert rows[Phase.TRAINING][0].energy_j == pytest.approx(figure.value)
    found = read_bill(trained.path)
    assert found is not None
    search = result_of(run).cost
    assert found[0].trials == search.trials + 1
    assert len(found[0].entries) == len(search.entries) + len(trained.bill.entries)
    assert open_source(trained.path).bill == found[0]


def test_the_forecast_scales_the_runs_own_measurement(run: Path, trained: Trained) -> None:
    trial = result_of(run).knee
    assert trial is not None
    assert trial.confirmed is not None
    once, twice = (prepare_training(run, epochs=epochs, assignments=FAST).forecast for epochs in (6, 12))
    for name in ("energy_j", "low_j", "high_j", "seconds"):
        assert getattr(twice, name) == pytest.approx(2 * getattr(once, name))
    assert once.kind == trial.confirmed.kind
    assert once.low_j is not None
    assert once.energy_j is not None
    assert once.high_j is not None
    assert once.low_j < once.energy_j < once.high_j
    # three times the search's two epochs, and an evaluation after each of them
    assert trial.confirmed.train_energy_j is not None
    assert 3 * trial.confirmed.train_energy_j < once.energy_j < 6 * trial.confirmed.train_energy_j
    assert trained.metered_j is not None
    assert once.energy_j / 3 < trained.metered_j < once.energy_j * 3  # the machine may be busy with other tests


def test_a_training_that_was_killed_goes_on_with_the_same_result(run: Path, trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    sets = [part for setting in FAST for part in ("--set", setting)]
    code = "from greennas.cli import main; main()"
    command = [sys.executable, "-c", code, "train", str(run), "--epochs", "6", "--out", str(out), *sets]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Epoch 2 "):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out / "state.safetensors").is_file()
    assert not (out / "model.safetensors").exists()
    with pytest.raises(RunError, match=r"was begun with other settings \(plan\)"):
        train(run, out, epochs=7)
    said: list[str] = []
    again = train(run, out, tell=said.append)
    assert said[0].startswith(f"The training in {out} goes on after epoch ")
    assert len(said) < 1 + 6
    expected, _ = read_tensors(trained.path / "model.safetensors")
    found, _ = read_tensors(out / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert again.description.accuracy == trained.description.accuracy
    assert [epoch["loss"] for epoch in json.loads((out / "training.json").read_text())["history"]] == [
        epoch["loss"] for epoch in json.loads((trained.path / "training.json").read_text())["history"]
    ]


class Dropping(nn.Module):
    """Draws from PyTorch's own generator in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(288, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(x)
        return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("ema", [True, False])
def test_a_loop_goes_on_bit_by_bit_from_its_state(precision: str, ema: bool) -> None:
    plan = TrainingPlan(
        epochs=4,
        ema=ema,
        augment=True,
        schedule="cosine",
        precision=precision,  # type: ignore[arg-type]
    )
    digits = load_data("digits", train_images=256)

    def loop_of(seed: int) -> tuple[nn.Module, TrainingLoop]:
        torch.manual_seed(seed)
        module = Dropping()
        return module, TrainingLoop(module, digits, plan, torch.device("cpu"))

    module, loop = loop_of(0)
    loop.advance_to(2)
    loop.evaluate(2)
    state = loop.state()
    loop.advance_to(4)
    expected = loop.evaluate(4)
    other, resumed = loop_of(1)
    resumed.restore(state)
    resumed.advance_to(4)
    found = resumed.evaluate(4)
    assert (found.accuracy, found.loss, found.steps) == (expected.accuracy, expected.loss, expected.steps)
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_a_teacher_is_trained_first_and_its_joules_are_on_the_bill(run: Path, tmp_path: Path) -> None:
    result = result_of(run)
    best = max(result.front, key=lambda trial: trial.metrics["accuracy"] or 0)
    pupil = next(trial for trial in result.completed if trial.architecture_id != best.architecture_id)
    job = prepare_training(run, pupil.architecture_id, epochs=3, teacher="most-accurate", assignments=FAST)
    assert job.teacher is not None
    assert job.teacher.architecture_id == best.architecture_id
    alone = prepare_training(run, pupil.architecture_id, epochs=3, assignments=FAST)
    assert alone.forecast.energy_j < job.forecast.energy_j < job.whole_forecast.energy_j  # type: ignore[operator]
    said: list[str] = []
    done = train_to_the_end(job, tell=said.append)
    assert "is trained first" in said[0]
    taught = read_training_bill(job.teacher.out)
    assert taught is not None
    assert read_description(job.teacher.out).architecture.id == best.architecture_id
    on_the_bill = [entry.reading for entry in done.bill.entries if entry.phase is Phase.TEACHER]
    assert on_the_bill == [entry.reading for entry in taught.entries]
    assert "distilled" in done.description.notes[-1]
    plain = train_to_the_end(alone)
    weights = [read_tensors(each.path / "model.safetensors")[0] for each in (done, plain)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    # the next pupil finds the teacher trained
    again = prepare_training(run, pupil.architecture_id, epochs=3, teacher="most-accurate", out=tmp_path / "second")
    assert again.whole_forecast == again.forecast
    spent_j, _ = total(entry.reading for entry in taught.entries)
    assert spent_j is not None
    with pytest.raises(RunError, match="and the budget is"):  # the teacher's joules count, though they are spent
        train_to_the_end(again, energy_budget_j=spent_j)
    with pytest.raises(ConfigError, match="cannot be its own teacher"):
        prepare_training(run, best.architecture_id, teacher="most-accurate")


def test_a_teacher_of_the_same_opinion_adds_nothing_to_the_gradient() -> None:
    torch.manual_seed(0)
    distillation = Distillation(nn.Identity(), torch.device("cpu"), weight=0.5, temperature=4.0)
    logits = torch.randn(8, 10, requires_grad=True)
    zero = torch.zeros(())
    same = distillation.mixed(zero, logits, distillation.logits(logits.detach()))
    assert abs(same.item()) < 1e-6
    other = distillation.mixed(zero, logits, logits.detach().roll(1, dims=1))
    assert other.item() > 0.01
    (gradient,) = torch.autograd.grad(other, logits)
    softened = [torch.softmax(each / 4.0, dim=1) for each in (logits.detach(), logits.detach().roll(1, dims=1))]
    torch.testing.assert_close(gradient, 0.5 * 4.0 * (softened[0] - softened[1]) / 8)


def test_the_teachers_part_is_weighed_and_softened_as_published() -> None:
    torch.manual_seed(0)
    own, taught = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    distillation = Distillation(nn.Identity(), torch.device("cpu"), weight=0.3, temperature=2.0)
    p, q = (torch.exp(each / 2) / torch.exp(each / 2).sum(1, keepdim=True) for each in (taught, own))
    divergence = (p * (p / q).log()).sum(1).mean()
    loss = torch.tensor(1.7, dtype=torch.float64)
    # arXiv 1503.02531, section 2: soft targets' gradients shrink by 1 / T squared, so that they are multiplied by it
    torch.testing.assert_close(distillation.mixed(loss, own, taught), 0.7 * loss + 0.3 * 2.0**2 * divergence)


def test_a_teacher_sees_the_very_images_of_each_step_and_does_not_learn() -> None:
    digits = load_data("digits")
    seen: dict[str, list[torch.Tensor]] = {"teacher": [], "student": []}

    class Watched(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name
            self.norm, self.head = nn.BatchNorm2d(1), nn.Linear(64, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen[self.name].append(images.clone())
            return self.head(self.norm(images).flatten(1))

    teacher, student = Watched("teacher").train(), Watched("student")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    plan = TrainingPlan(augment=True, precision="float32", runtime="eager")
    loop = TrainingLoop(student, digits, plan, torch.device("cpu"), teacher)
    seen["student"].clear()  # the look at the network before the first step
    loop.advance(3)
    assert len(seen["teacher"]) == 3
    for one, other in zip(seen["teacher"], seen["student"], strict=True):
        assert torch.equal(one, other)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_cosine_schedule_ends_at_zero() -> None:
    digits = load_data("digits", train_images=128)
    plan = TrainingPlan(epochs=8, schedule="cosine", precision="float32")
    loop = TrainingLoop(Dropping(), digits, plan, torch.device("cpu"))
    rates = []
    for _ in range(plan.steps(128)):
        rates.append(learning_rate(plan, loop.steps, 128))
        loop.advance(1)
        assert loop._optimizer.param_groups[0]["lr"] == rates[-1]
    assert rates[0] == plan.learning_rate
    assert rates == sorted(rates, reverse=True)
    assert rates[8] == pytest.approx(plan.learning_rate / 2)
    assert learning_rate(plan, loop.steps, 128) == pytest.approx(0, abs=1e-12)


def test_budgets_end_a_training_with_what_it_has(run: Path, tmp_path: Path) -> None:
    job = prepare_training(run, epochs=50, assignments=FAST, out=tmp_path / "short")
    job = replace(job, forecast=replace(job.forecast, energy_j=3.0, low_j=2.0, high_j=4.0))
    with pytest.raises(RunError, match=r"will take .* modelled or more, and the budget is"):
        train_to_the_end(job, energy_budget_j=1.9)
    done = train_to_the_end(job, time_budget_s=1e-3)
    assert done.epochs == 1
    assert "the time budget of 0.001 s was spent after epoch 1" in done.description.notes
    assert set(done.description.accuracy) == {"validation", "test"}
    # what the forecast allows and the meter does not
    cheap = replace(job, forecast=replace(job.forecast, energy_j=0.0, low_j=0.0), out=tmp_path / "cheap")
    assert train_to_the_end(cheap, energy_budget_j=1e-3).epochs == 1


def test_folders_that_hold_something_else_are_refused(run: Path, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(ConfigError, match=r"file is a file; choose another --out"):
            prepare_training(run, out=out)
    with pytest.raises(ConfigError, match="is not empty; choose a new folder"):
        prepare_training(run, out=tmp_path)
    other = next(t for t in result_of(run).completed if t.architecture_id != trained.description.architecture.id)
    with pytest.raises(ConfigError, match=f"holds another network, {trained.description.architecture.id}; choose"):
        prepare_training(run, other.architecture_id, out=trained.path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"assignments": ["trials=3"]}, "trials is no setting of a full training"),
        ({"assignments": ["training.rungs=[1]"]}, "training.rungs is no setting of a full training"),
        ({"assignments": ["training.momentum=2"]}, "training.momentum"),
        ({"pick": "best"}, "'best' is no network of"),
        ({"teacher": "best"}, "'best' is no network of"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(run: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        prepare_training(run, **arguments)  # type: ignore[arg-type]
    assert str(caught.value).count(". ") == 0


def test_two_processes_do_not_train_into_one_folder(run: Path, tmp_path: Path) -> None:
    job = prepare_training(run, epochs=2, out=tmp_path / "one")

    def meanwhile(_: str) -> None:
        with pytest.raises(RunError, match="Another process trains in"):
            train_to_the_end(job)

    train_to_the_end(job, tell=meanwhile)
    with pytest.raises(RunError, match="is trained already"):
        prepare_training(run, out=tmp_path / "one")


def test_a_state_that_is_damaged_is_said_in_a_sentence(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for metadata in ({}, {"format": "greennas-training-0", "facts": "{}"}):
        write_tensors(out / STATE, {"loop.weight": torch.zeros(1)}, metadata)
        with pytest.raises(DataError, match=r"is not the state of a training \(.*\); remove it to begin again"):
            train(run, out)
    assert not (out / "model.safetensors").exists()
