"""The journal on disk: Optuna's own format and order, written in one go where things belong together."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from greennas.journal import Journal, together


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def begin(path: Path) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=JournalStorage(Journal(path)), load_if_exists=True)


def optunas(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path))))


def train(study: optuna.Study, value: float) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_int("depth", 1, 9)
    trial.set_user_attr("metrics", {"accuracy": value, "names": ("a", "b")})
    study.tell(trial, value)
    return trial


def test_optuna_reads_the_file_as_it_stands_in_memory(path: Path) -> None:
    study = begin(path)
    train(study, 0.5)
    with together(study):
        train(study, 0.25)
        with together(study):
            study.set_user_attr("note", "inner")
        assert [trial.value for trial in study.trials] == [0.5, 0.25]  # seen before it is on the disk
        assert len(finished(path)) == 1
    train(study, 0.75)
    assert optunas(path).trials == study.trials == begin(path).trials
    assert optunas(path).user_attrs == {"note": "inner"}


def finished(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optunas(path).get_trials(states=(TrialState.COMPLETE,))


def test_what_belongs_together_is_forced_to_the_disk_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = begin(path)
    forced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: forced.append(number))
    train(study, 0.5)
    alone = len(forced)
    with together(study):
        train(study, 0.5)
    assert alone >= 4
    assert len(forced) == alone + 1


def test_what_was_logged_before_an_error_is_kept(path: Path) -> None:
    study = begin(path)

    def fails() -> None:
        with together(study):
            train(study, 0.5)
            raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="later"):
        fails()
    assert [trial.value for trial in optunas(path).trials] == [0.5]
    train(study, 0.25)
    assert [trial.value for trial in optunas(path).trials] == [0.5, 0.25]


def test_what_others_enqueue_meanwhile_waits_and_is_seen(path: Path) -> None:
    study = begin(path)
    other = optunas(path)
    other.enqueue_trial({"depth": 1})
    with together(study):
        assert study.ask().number == 0  # what stood in the queue, written by another process
        writer = threading.Thread(target=lambda: other.enqueue_trial({"depth": 2}))
        writer.start()
        assert study.ask().number == 1
    writer.join(timeout=30)
    assert not writer.is_alive()
    third = study.ask()
    assert (third.number, third.suggest_int("depth", 1, 9)) == (2, 2)
    assert optunas(path).trials == study.trials


def test_a_line_that_is_being_written_is_left_for_later(path: Path) -> None:
    study = begin(path)
    train(study, 0.5)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    reader = optuna.load_study(study_name="s", storage=JournalStorage(Journal(path)))
    assert [trial.state for trial in reader.trials] == [TrialState.RUNNING]
    path.write_bytes(whole)
    assert [trial.state for trial in reader.trials] == [TrialState.COMPLETE]
