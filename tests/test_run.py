"""The run folder: what it refuses, what it records, and how its study survives a kill."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from greennas.config import SearchConfig, load_config
from greennas.errors import RunError
from greennas.ledger import Ledger
from greennas.results import SearchResult
from greennas.run import RunFolder, default_path, environment


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", load_config(overrides={"trials": 3}))


def add(study: optuna.Study, depth: int, accuracy: float) -> None:
    distributions = {"depth": IntDistribution(1, 9)}
    study.add_trial(create_trial(params={"depth": depth}, distributions=distributions, values=[accuracy, 2.0]))


def tear(run: RunFolder, text: str = '{"op_code": 6, "worker_id": "x", "tri') -> None:
    """Append what a kill in the middle of a write leaves."""
    with run.journal.open("a") as file:
        file.write(text)


# The folder.


def test_a_new_folder_has_its_settings_and_environment(run: RunFolder) -> None:
    assert RunFolder.open(run.path).config == run.config
    assert run.config.trials == 3
    assert {path.name for path in run.path.iterdir()} == {"config.yaml", "environment.json", "checkpoints", "work"}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert RunFolder.create(tmp_path / "run", SearchConfig()).config_file.is_file()


@pytest.mark.parametrize(
    ("name", "hint"), [("config.yaml", "continue it with --resume"), ("notes.txt", "another --out")]
)
def test_an_occupied_folder_is_left_alone(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=f"is not an empty folder; .*{hint}"):
        RunFolder.create(tmp_path, SearchConfig())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (file, file / "below"):
        with pytest.raises(RunError, match=r"is not an empty folder|cannot be written"):
            RunFolder.create(path, SearchConfig())
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder.open(file)
    assert file.read_text() == "mine"


def test_default_folders_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(overrides={"space": "spaces/mine.py", "data": "folder:/pictures/birds"})
    paths = []
    for _ in range(3):
        paths.append(default_path(config))
        paths[-1].mkdir(parents=True)
    assert len(set(paths)) == 3
    assert all(re.fullmatch(r"runs/mine-folder-\d{8}-\d{6}(-\d)?", str(path)) for path in paths)


# The environment.


def test_the_environment_says_what_a_result_depends_on() -> None:
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert {"greennas", "torch", "optuna", "numpy"} <= set(found["packages"])
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["devices"]["cpu"]["model"]
    assert found["cores"] == len(os.sched_getaffinity(0))


def test_the_git_commit_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["git_commit"] is None
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], check=True)
    assert re.fullmatch("[0-9a-f]{40}", environment()["git_commit"])


def test_the_same_hardware_is_accepted_and_other_is_refused(run: RunFolder) -> None:
    run.check_devices()
    found = json.loads(run.environment_file.read_text())
    found["devices"]["gpus"] = [*found["devices"]["gpus"], {"name": "Voodoo 2"}]
    run.environment_file.write_text(json.dumps(found))
    with pytest.raises(RunError, match=r"Voodoo 2 .* do not compare, so start a new search"):
        run.check_devices()


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_damaged_environment_is_one_sentence(run: RunFolder, text: str) -> None:
    run.environment_file.write_text(text)
    with pytest.raises(RunError, match=r"environment\.json cannot be read"):
        run.check_devices()


# The lock.


def test_a_folder_has_one_driver(run: RunFolder) -> None:
    other = RunFolder.open(run.path)
    with run.locked(), pytest.raises(RunError, match="Another search is running"), other.locked():
        pass
    with run.locked():
        pass


def test_the_kernel_lets_go_of_the_lock_of_a_killed_driver(run: RunFolder) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from greennas.run import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(run.path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="Another search is running"), run.locked():
            pass
        process.kill()
        process.wait()
    with run.locked():
        pass


# The study.


def test_a_study_that_has_not_begun(run: RunFolder) -> None:
    with pytest.raises(RunError, match=r"has not begun; start it with --resume"):
        run.read_study()


@pytest.mark.parametrize("text", ['{"op_code": 6, "worker_id": "x", "tri', "{", "\x00\x00", '{"op_code": 6}'])
def test_a_torn_line_is_dropped_and_the_study_goes_on(run: RunFolder, text: str) -> None:
    add(run.start_study(), 3, 0.5)
    tear(run, text)
    again = run.start_study()
    add(again, 4, 0.75)
    assert [trial.params["depth"] for trial in run.read_study().trials] == [3, 4]
    assert all(json.loads(line) for line in run.journal.read_text().splitlines())


def test_a_journal_torn_in_its_first_line_begins_anew(run: RunFolder) -> None:
    run.journal.write_text('{"op_code": 0, "wor')
    add(run.start_study(), 3, 0.5)
    assert len(run.read_study().trials) == 1


def test_a_reader_does_not_mend_and_sees_what_is_whole(run: RunFolder) -> None:
    add(run.start_study(), 3, 0.5)
    tear(run)
    before = run.journal.read_bytes()
    assert len(run.read_study().trials) == 1
    assert run.journal.read_bytes() == before


def test_a_stale_lock_of_the_journal_does_not_hold_up_the_next_driver(run: RunFolder) -> None:
    add(run.start_study(), 3, 0.5)
    Path(f"{run.journal}.lock").symlink_to(run.journal)
    start = time.monotonic()
    add(run.start_study(), 4, 0.5)
    assert time.monotonic() - start < 10  # Optuna waits 30 s for such a lock
    assert len(run.read_study().trials) == 2


@pytest.mark.parametrize("text", ["not a journal\n", '{"a": 1}\n', "[1]\n"])
def test_a_foreign_journal_is_one_sentence(run: RunFolder, text: str) -> None:
    run.journal.write_text(text)
    with pytest.raises(RunError, match="cannot be read"):
        run.read_study()
    with pytest.raises(RunError, match="cannot be read"):
        run.start_study()


# What was in flight.


def test_a_trial_in_flight_is_queued_again_with_all_of_its_values(run: RunFolder) -> None:
    study = run.start_study()
    study.enqueue_trial({"depth": 3})
    trial = study.ask()
    values = {"depth": trial.suggest_int("depth", 1, 9), "width": trial.suggest_int("width", 1, 10**9)}
    trial.set_user_attr("proposal", {"reason": "because"})
    ledger = Ledger(run.start_study(), run.config.metrics)
    ledger.recover(run.work)
    first, second = ledger.study.trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)
    again = ledger.study.ask()
    assert {"depth": again.suggest_int("depth", 1, 9), "width": again.suggest_int("width", 1, 10**9)} == values
    assert again.user_attrs["proposal"] == {"reason": "because"}
    result = SearchResult(run.config, run.read_study(), run.path)
    assert result.count(TrialState.FAIL) == 0
    assert [record.interrupted for record in result.trials] == [True, False]


def test_a_kill_between_queueing_and_telling_queues_once(run: RunFolder) -> None:
    study = run.start_study()
    study.enqueue_trial({"depth": 3})
    trial = study.ask()
    trial.suggest_int("depth", 1, 9)
    study.enqueue_trial({"depth": 3})  # the first recovery was killed here
    Ledger(run.start_study(), run.config.metrics).recover(run.work)
    assert [t.state for t in run.read_study().trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_study_that_cannot_be_written_is_one_sentence(run: RunFolder) -> None:
    run.journal.mkdir()
    with pytest.raises(RunError, match=r"The study .* cannot be written \(Is a directory\); .* go on with --resume"):
        run.start_study()


def test_a_folder_that_must_not_be_written_is_one_sentence(run: RunFolder) -> None:
    for file, caught in ((run.report, RunError), (Path("/elsewhere"), PermissionError)):
        with pytest.raises(caught) as told, run.writing():
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        assert (caught is PermissionError) or "(Permission denied); make it writable" in str(told.value)
    (run.path / ".lock").mkdir()
    with pytest.raises(RunError, match=r"cannot be written \(Is a directory\); make it writable"), run.locked():
        pass


def test_a_full_disk_is_one_sentence(run: RunFolder) -> None:
    with pytest.raises(RunError, match=r"cannot be written .*; make room, and go on with --resume"), run.writing():
        Path("/dev/full").write_text("more than there is room for")
