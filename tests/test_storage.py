"""Studies in PostgreSQL: a real server on loopback, its passwords nowhere to be seen, and its loss."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from greennas.config import load_config
from greennas.errors import ConfigError, RunError
from greennas.loop import Progress
from greennas.results import SearchResult
from greennas.run import RunFolder
from greennas.search import continue_search, run_search
from greennas.storage import mask, without_password

PASSWORD = "s3cr:t@/word"
QUOTED = "s3cr%3At%40%2Fword"


def command(name: str) -> str | None:
    """A program of PostgreSQL's, also where Debian keeps it."""
    found = sorted(str(path) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (found[-1] if found else None)


class Server:
    """A PostgreSQL server of this test's own, with a password."""

    def __init__(self, folder: Path) -> None:
        # PostgreSQL refuses to run as root.
        self._user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "password").write_text(PASSWORD)
        if self._user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "nobody", "nogroup")
        self._run("initdb", "-D", "data", "-U", "team", "-A", "scram-sha-256", "--pwfile=password", "--no-sync")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def url(self, password: str | None = QUOTED) -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://team{secret}@127.0.0.1:{self.port}/postgres"

    def _run(self, name: str, *arguments: str) -> None:
        # Its output goes to a file: the server inherits it, and a pipe would be waited for.
        program = command(name)
        assert program is not None
        with (self._folder / "out").open("a") as out:
            done = subprocess.run(
                [*self._user, program, *arguments], cwd=self._folder, stdout=out, stderr=out, timeout=60, check=False
            )
        assert done.returncode == 0, (self._folder / "out").read_text()


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="the extra postgresql is not installed")
    if command("initdb") is None or command("pg_ctl") is None:
        pytest.skip("there is no PostgreSQL server here (initdb and pg_ctl)")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to run it as somebody else")
    folder = Path(tempfile.mkdtemp(prefix="greennas-postgres-", dir="/tmp"))
    try:
        found = Server(folder)
        found.start()
        yield found
        with contextlib.suppress(AssertionError):
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
