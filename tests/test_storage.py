"""Studies in PostgreSQL: a real server on loopback, its passwords nowhere to be seen, and its loss."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState
from postgresql import PASSWORD, QUOTED, Server

from greennas.config import load_config
from greennas.errors import ConfigError, RunError
from greennas.loop import Progress
from greennas.results import SearchResult
from greennas.run import RunFolder
from greennas.search import continue_search, run_search
from greennas.storage import mask, without_password


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_study_in_postgresql(server: Server, small_space: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["search", "--space", small_space, "--trials", "3", "--set", "training.epochs=1", "--workers", "1"]
    arguments += ["--storage", server.url(), "--out", str(run), "--confirm", "0"]
    done = subprocess.run(
        [sys.executable, "-c", "from greennas.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (run / "study.journal").exists()
    for secret in (PASSWORD, QUOTED):
        assert secret not in done.stdout + done.stderr
        assert not files_with(secret, run)
    assert "team:***@127.0.0.1" in " ".join(json.loads((run / "environment.json").read_text())["command"])
    config = RunFolder.open(run).config
    assert config.storage == server.url(None)
    # This process was never told the password, as somebody's who only looks.
    with pytest.raises(ConfigError, match=r"does not answer .*password"):
        RunFolder.open(run).read_study()
    result = continue_search(run, overrides={"storage": server.url(), "trials": 4})
    assert result.count(TrialState.COMPLETE) == 4
    assert len(SearchResult(config, RunFolder.open(run).read_study()).trials) == 4
    # Another run of the same name in the same database is another study.
    (tmp_path / "other").mkdir()
    fresh = {"space": small_space, "trials": 1, "training.epochs": 1, "storage": server.url(), "energy.confirm": 0}
    other = run_search(load_config(overrides={**fresh, "workers": 1}), tmp_path / "other" / "run")
    assert len(other.trials) == 1


def test_a_lost_database_is_one_sentence_and_loses_nothing(server: Server, small_space: str, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def stop(state: Progress) -> None:
        if state.result.count(TrialState.COMPLETE) == 2 and not stopped:
            stopped.append(True)
            server.stop()

    stopped: list[bool] = []
    given = {"space": small_space, "trials": 4, "training.epochs": 1, "workers": 1, "energy.confirm": 0}
    config = load_config(overrides={**given, "storage": server.url()})
    with pytest.raises(RunError, match=r"connection to the study's storage .* was lost .*--resume") as caught:
        run_search(config, run, stop)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    server.start()
    result = continue_search(run)
    assert result.count(TrialState.COMPLETE) == 4
    assert len({trial.architecture_id for trial in result.trials if trial.state == "COMPLETE"}) == 4


def test_a_restarted_database_is_not_even_noticed(server: Server, small_space: str, tmp_path: Path) -> None:
    def restart(state: Progress) -> None:
        if state.result.count(TrialState.COMPLETE) == 1 and not restarted:
            restarted.append(True)
            server.stop()
            server.start()

    restarted: list[bool] = []
    given = {"space": small_space, "trials": 2, "training.epochs": 1, "workers": 1, "energy.confirm": 0}
    result = run_search(load_config(overrides={**given, "storage": server.url()}), tmp_path / "run", restart)
    assert result.count(TrialState.COMPLETE) == 2


def test_passwords_are_kept_apart() -> None:
    assert (
        without_password("postgresql://me:pa%40ss@db.example.org:5432/nas") == "postgresql://me@db.example.org:5432/nas"
    )
    assert (
        without_password("postgresql://me@db/nas?password=hidden&sslmode=require")
        == "postgresql://me@db/nas?sslmode=require"
    )
    assert without_password("sqlite:////tmp/study.db") == "sqlite:////tmp/study.db"
    config = load_config(overrides={"storage": "postgresql://me:hidden@db/nas"})
    assert "hidden" not in config.to_yaml() + repr(config)
    assert mask("--storage=postgresql://me:hidden@db/nas") == "--storage=postgresql://me:***@db/nas"
    assert mask("postgresql://db/nas?password=hidden&user=me") == "postgresql://db/nas?password=***&user=me"
    with pytest.raises(ConfigError, match="not the URL of a database") as caught:
        load_config(overrides={"storage": "me:hidden@db"})
    assert "hidden" not in str(caught.value)


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    config = load_config(overrides={"storage": "postgresql://me:hidden@127.0.0.1:1/nas", "trials": 1})
    with pytest.raises(ConfigError, match="does not answer") as caught:
        run_search(config, tmp_path / "run")
    assert "hidden" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_missing_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    config = load_config(overrides={"storage": "postgresql://me:hidden@127.0.0.1:1/nas", "trials": 1})
    with pytest.raises(
        ConfigError, match=r"needs the driver psycopg, .*pip install 'greennas\[postgresql\]'"
    ) as caught:
        run_search(config, tmp_path / "run")
    assert "hidden" not in str(caught.value)
