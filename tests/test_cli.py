"""The command line as a user meets it: real processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from PIL import Image

from greennas.carbon import Phase
from greennas.cli import main
from greennas.results import SearchResult
from greennas.run import RunFolder

COMMAND = [sys.executable, "-m", "greennas"]
FAST = ["--set", "training.epochs=2", "--set", "screen.initial=3", "--set", "screen.pool=40"]


def greennas(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
    )


def rejected(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> str:
    """What a command prints that has to end with exit code 2 and one sentence; in this process, which is quicker."""
    monkeypatch.setattr(sys, "argv", ["greennas", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.strip().splitlines()) == 1
    return output.err


def start(*args: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A command in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *args],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )


def open_result(path: Path) -> SearchResult:
    run = RunFolder.open(path)
    return SearchResult(run.config, run.read_study(), run.path)


def wait_for_trials(path: Path, count: int, states: Sequence[str] = ("COMPLETE", "PRUNED")) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (path / "study.journal").is_file():
            trials = open_result(path).trials
            running = [trial for trial in trials if trial.state == "RUNNING"]
            if sum(trial.state in states for trial in trials) >= count and running:
                return
        time.sleep(0.1)
    raise AssertionError(f"not {count} trials in time")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("cli") / "run"
    done = greennas("search", "--trials", "6", "--workers", "2", "--out", str(path), *FAST)
    assert done.returncode == 0, done.stderr
    return path, done.stdout


def test_search_prints_front_knee_bill_and_report(run: tuple[Path, str]) -> None:
    path, output = run
    assert "Pareto front: accuracy:max against train_energy_j:min" in output
    assert "Knee: " in output
    assert "What the search itself cost" in output
    assert "modelled" in output
    assert f"Report: {path / 'report.html'}" in output.replace("\n", "")


def test_front_status_and_report_of_a_run(run: tuple[Path, str]) -> None:
    path, _ = run
    front = json.loads(greennas("front", str(path), "--json").stdout)
    assert front["front"][0]["test"]["accuracy"] > 0.5
    status = json.loads(greennas("status", str(path), "--json").stdout)
    assert sum(status["trials"].values()) == 6
    assert status["cost"]["summary"]["totals"]["modelled"]["energy_j"] > 0
    assert "Pareto front" in greennas("front", str(path)).stdout
    assert "Trials: " in greennas("status", str(path)).stdout
    (path / "report.html").unlink()
    assert greennas("report", str(path)).returncode == 0
    assert (path / "report.html").is_file()


def test_cost_of_a_run_in_every_form(run: tuple[Path, str]) -> None:
    path = str(run[0])
    table = greennas("cost", path).stdout
    assert "What the search itself cost" in table
    assert "By worker" in table
    bill = json.loads(greennas("cost", path, "--json", "--grid-intensity", "FRA", "--pue", "1.3").stdout)
    assert (bill["grid_location"], bill["pue"]) == ("France", 1.3)
    assert bill["summary"]["carbon"]["modelled"]["carbon_g"] > 0
    assert greennas("cost", path, "--markdown").stdout.startswith("| spent on |")
    assert r"\begin{tabular}" in greennas("cost", path, "--latex").stdout
    card = yaml.safe_load(greennas("cost", path, "--model-card", "--grid-intensity", "100").stdout)
    assert card["co2_eq_emissions"]["emissions"] > 0
    assert "cores of" in card["co2_eq_emissions"]["hardware_used"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--model-card"], "--grid-intensity"),
        (["--grid-intensity", "Atlantis"], "Atlantis"),
        (["--pue", "0.5"], "PUE"),
        (["--markdown", "--latex"], "Choose one"),
    ],
)
def test_cost_that_cannot_be_told(
    run: tuple[Path, str],
    args: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert words in rejected(capsys, monkeypatch, "cost", str(run[0]), *args)


def test_json_output_is_json_alone(tmp_path: Path) -> None:
    done = greennas("search", "--trials", "3", "--out", str(tmp_path / "run"), "--json", *FAST)
    summary = json.loads(done.stdout)
    assert summary["trials"]["COMPLETE"] == 3
    assert done.stderr == ""


def test_spaces_and_doctor() -> None:
    names = {row["name"] for row in json.loads(greennas("spaces", "--json").stdout)}
    assert {"nasbench101", "nasbench201", "mobilenet", "resnet"} <= names
    findings = json.loads(greennas("doctor", "--json").stdout)
    assert any(finding["counter"] == "cpu_time" for finding in findings)
    assert "cpu_time" in greennas("doctor").stdout


def test_dry_run_tells_size_time_and_joules_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = greennas("search", "--dry-run", "--trials", "9", "--out", str(out), "--json", *FAST)
    forecast = json.loads(done.stdout)
    low, mean, high = forecast["energy_j"]
    assert 0 < low <= mean <= high
    assert forecast["kind"] == "modelled"
    assert forecast["size"] > 1000
    assert forecast["trials"] == 9
    assert not out.exists()
    assert "Nothing was written" in greennas("search", "--dry-run", *FAST).stdout


def test_a_run_that_goes_on_has_no_dry_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "leave out --resume, or --dry-run" in rejected(capsys, monkeypatch, "search", "--resume", "r", "--dry-run")


BAD = {
    "space": (["--space", "nasbench999"], "no search space 'nasbench999'"),
    "space file": (["--space", "missing.py"], "no search space file"),
    "space option": (["--set", "space_options.widht=3"], "no option 'widht'"),
    "space that is none": (["--set", "space_options.depth=-1"], "there cannot be -1 layers"),
    "data": (["--data", "imagenet99"], "imagenet99"),
    "data dir": (["--data", "cifar10", "--data-dir", "/nowhere"], "/nowhere"),
    "objective": (["--objectives", "accuracy:max,joules:min"], "no metric 'joules'"),
    "one objective": (["--objectives", "accuracy"], "two or three"),
    "energy budget": (["--energy-budget", "50 bananas"], "50 bananas"),
    "time budget": (["--time-budget", "soon"], "soon"),
    "workers": (["--workers", "0"], "workers"),
    "trials": (["--trials", "0"], "trials"),
    "setting": (["--set", "training.epoch=3"], "training.epoch"),
    "no setting": (["--set", "epochs"], "key=value"),
    "config": (["--config", "missing.yaml"], "missing.yaml"),
    "batch size": (["--set", "training.batch_size=100000"], "batch"),
    "device": (["--set", "device=cuda"], "no GPU"),
    "country": (["--grid-intensity", "Atlantis"], "Atlantis"),
    "pue": (["--pue", "0.9"], "energy.pue"),
    "confirm": (["--confirm", "1"], "energy.confirm"),
    "watts": (["--set", "energy.watts_per_core=[5,3,1]"], "watts"),
}


def test_bad_data_is_one_sentence_and_no_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    idx = tmp_path / "idx"
    idx.mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (idx / f"{name}-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\0\0")  # two numbers, where images should be
    few = tmp_path / "few"
    for label in ("cat", "dog"):
        (few / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(few / label / "one.png")
    for data, words in (
        (["--data", "mnist", "--data-dir", str(tmp_path / "nowhere")], "nowhere"),
        (["--data", "mnist", "--data-dir", str(idx)], "ubyte"),
        (["--data", f"folder:{tmp_path / 'nothing'}"], "nothing"),
        (["--data", f"folder:{few}"], "few"),
    ):
        assert words in rejected(capsys, monkeypatch, "search", "--out", str(out), *data)
        assert not out.exists()


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_no_run_folder(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args, words = BAD[name]
    out = tmp_path / "run"
    assert words in rejected(capsys, monkeypatch, "search", "--trials", "2", "--out", str(out), *args)
    assert not out.exists()


def test_bad_input_has_exit_code_2_and_no_traceback(tmp_path: Path) -> None:
    done = greennas("search", "--space", "nasbench999", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert done.stderr.startswith("Error: There is no search space 'nasbench999'")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def sample(trial): return {}", "no function 'build'"),
        ("raise RuntimeError('oops')", "does not run"),
        ("def sample(trial): return {}\ndef build(p, s, c): return None", "not a torch module"),
        (
            "def sample(trial): return {}\ndef build(p, s, c): return 1 / 0",
            "ZeroDivisionError: division by zero); mend it",
        ),
    ],
)
def test_broken_space_files(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "space.py"
    file.write_text(text)
    out = tmp_path / "run"
    assert words in rejected(capsys, monkeypatch, "search", "--space", str(file), "--out", str(out))
    assert not out.exists()


def test_run_folders_that_are_none(
    run: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["front"], ["status"], ["report"], ["search", "--resume"]):
        assert "is not a run folder" in rejected(capsys, monkeypatch, *command, str(tmp_path))
    assert "--resume" in rejected(capsys, monkeypatch, "search", "--out", str(run[0]))


def test_a_search_in_which_every_training_failed_says_so_and_ends_with_exit_code_1(
    small_space: str, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"  # its one network is the dearest, and a search begins with cheap ones
    with table.open("w", newline="") as file:
        params = json.dumps({"first": 24, "second": 24, "fault": "none"})
        csv.writer(file).writerows([["params", "accuracy", "train_energy_j"], [params, 0.5, 1.0]])
    replay = ["--table", str(table), "--set", "table.input_shape=[1, 8, 8]"]
    done = greennas("search", "--space", small_space, *replay, "--trials", "3", "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "None of the 3 trainings succeeded, so there is no front." in done.stdout
    assert done.stdout.count("failed: ") == 3
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_cleanly_with_what_there_is(small_space: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    slow = {"FAULTS": "slow", "SLOW_STEP": "0.1"}
    process = start("search", "--space", small_space, "--trials", "30", "--out", str(path), *FAST, env=slow)
    wait_for_trials(path, 2)
    time.sleep(1)  # the third has begun by then, and takes longer
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    result = open_result(path)
    assert result.front
    assert {trial.state for trial in result.trials} <= {"COMPLETE", "PRUNED", "WAITING", "FAIL"}
    cut_off = [trial for trial in result.trials if trial.state == "FAIL"]
    assert cut_off
    assert all(trial.interrupted for trial in cut_off)
    stopped = [part.energy_j or 0 for part in result.cost.by_phase()[Phase.STOPPED_TRAINING]]
    assert sum(stopped) > 0  # what the trainings drew before they were cut off is on the bill
    assert (path / "report.html").is_file()


def test_three_kills_and_a_resume_lose_and_repeat_nothing(small_space: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    slow = {"FAULTS": "slow", "SLOW_STEP": "0.02"}
    args = ["search", "--space", small_space, "--trials", "14", "--workers", "2", "--out", str(path), *FAST]
    finished: dict[int, str] = {}
    for count in (2, 5, 8):
        process = start(*args, env=slow)
        wait_for_trials(path, count)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        finished = {
            trial.number: trial.architecture_id
            for trial in open_result(path).trials
            if trial.state in ("COMPLETE", "PRUNED")
        }
        assert len(finished) >= count
        args = ["search", "--resume", str(path)]
        with (path / "study.journal").open("a") as journal:
            journal.write('{"op_code": 6, "torn')  # what a kill in the middle of a write leaves
        (path / "study.journal.lock").unlink(missing_ok=True)
        (path / "study.journal.lock").symlink_to("study.journal")  # and the lock that was held
    done = greennas(*args, env=slow)
    assert done.returncode == 0, done.stderr
    result = open_result(path)
    ended = [trial for trial in result.trials if not trial.interrupted]
    assert len(ended) == 14
    assert {trial.state for trial in ended} <= {"COMPLETE", "PRUNED"}
    assert finished.items() <= {trial.number: trial.architecture_id for trial in ended}.items()
    assert len({trial.architecture_id for trial in ended}) == 14
    assert all(trial.test for trial in result.front)


def test_a_second_driver_is_refused(small_space: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    slow = {"FAULTS": "slow", "SLOW_STEP": "0.05"}
    process = start("search", "--space", small_space, "--trials", "20", "--out", str(path), *FAST, env=slow)
    try:
        wait_for_trials(path, 0)
        done = greennas("search", "--resume", str(path))
        assert done.returncode == 2
        assert "Another search is running" in done.stderr
        assert greennas("status", str(path)).returncode == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_workers_die_with_a_killed_driver(small_space: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    slow = {"FAULTS": "slow", "SLOW_STEP": "1"}
    process = start("search", "--space", small_space, "--workers", "1", "--out", str(path), *FAST, env=slow)
    wait_for_trials(path, 0)
    time.sleep(1)
    session = process.pid
    os.kill(process.pid, signal.SIGKILL)  # the driver alone
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and session_members(session):
        time.sleep(0.2)
    assert not session_members(session)


def session_members(session: int) -> list[str]:
    """Command lines of the processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((stat.parent / "cmdline").read_text())
        except OSError:
            continue
    return found
