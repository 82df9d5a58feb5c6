"""optuna-dashboard on a run's study: it shows the trials, on this machine alone, and changes nothing."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from greennas.config import load_config
from greennas.dashboard import HOST, Dashboard
from greennas.errors import ConfigError, RunError
from greennas.run import RunFolder

pytest.importorskip("optuna_dashboard")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run", load_config())
    study = folder.start_study()
    study.add_trial(
        optuna.trial.create_trial(
            values=[0.9, 12.5],
            params={"1<-0": "skip_connect"},
            distributions={"1<-0": optuna.distributions.CategoricalDistribution(["none", "skip_connect"])},
        )
    )
    return folder


@pytest.fixture
def dashboard(run: RunFolder) -> Iterator[Dashboard]:
    server = Dashboard(run, port=0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.close()
    thread.join()


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_study_is_shown_and_grows_with_the_search(dashboard: Dashboard, run: RunFolder) -> None:
    status, page = ask(dashboard.url)
    assert status == 200
    assert "<title>Optuna Dashboard</title>" in page
    study = dashboard.url.replace("/dashboard/", "/api/")
    status, text = ask(f"{study}?after=0")
    assert status == 200
    assert [trial["values"] for trial in json.loads(text)["trials"]] == [[0.9, 12.5]]
    assert json.loads(text)["objective_names"] == ["accuracy", "train_energy_j"]
    run.start_study().enqueue_trial({"1<-0": "none"})
    for _ in range(50):  # the dashboard looks for new trials every few seconds
        trials = json.loads(ask(f"{study}?after=0")[1])["trials"]
        if len(trials) == 2:
            break
        threading.Event().wait(0.2)
    assert [trial["state"] for trial in trials] == ["Complete", "Waiting"]


def test_nothing_can_be_changed_and_no_other_name_is_answered(dashboard: Dashboard, run: RunFolder) -> None:
    before = run.journal.read_bytes()
    study = dashboard.url.replace("/dashboard/", "/api/")
    for method in ("DELETE", "POST", "PUT"):
        status, text = ask(study, method)
        assert status == 403
        assert "the search alone writes" in text
    assert ask(dashboard.url, Host="example.org")[0] == 403
    assert ask(dashboard.url, Host="localhost:80")[0] == 200
    assert run.journal.read_bytes() == before


def test_it_listens_on_this_machine_alone(dashboard: Dashboard) -> None:
    assert dashboard._server.server_address[0] == HOST
    assert dashboard.url.startswith("http://127.0.0.1:")


def test_a_taken_port_and_a_run_that_has_not_begun_are_one_sentence(run: RunFolder, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken, pytest.raises(ConfigError, match="give another --port"):
        Dashboard(run, port=taken.getsockname()[1])
    with pytest.raises(RunError, match="has not begun"):
        Dashboard(RunFolder.create(tmp_path / "new", load_config()), port=0)
