"""Trials in TensorBoard and MLflow: each once, with parameters, metrics, joules and kind; a lost log stops nothing."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from greennas.architecture import Architecture
from greennas.errors import ConfigError
from greennas.loop import Progress
from greennas.results import TrialRecord
from greennas.tracking import MLflowLog, TensorBoardLog, logged, open_logs, write_finished


def trial(number: int, state: str = "COMPLETE", **more: Any) -> TrialRecord:
    params = {"stage 1 blocks": 2, "gate<-0": True, "widths": [8, 16]}
    architecture = Architecture("mine", params, str(number))
    metrics = {"accuracy": 0.9 + number / 100, "train_energy_j": 12.5, "latency_ms": None}
    return TrialRecord(number, state, architecture, metrics, {"train_energy_j": "modelled"}, **more)


class Result:
    """As much of a result as logs read."""

    def __init__(self, *trials: TrialRecord) -> None:
        self.trials = list(trials)


def progress(*trials: TrialRecord, message: str | None = "a trial ended") -> Progress:
    return Progress(Result(*trials), 0, 9, 1.0, None, message)  # type: ignore[arg-type]


def scalars(folder: Path) -> dict[str, tuple[int, float]]:
    """Step and value of each scalar in TensorBoard's files of a trial."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in folder.glob("events*"):
        content = file.read_bytes()
        while content:  # length, checksum, event, checksum
            (size,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found[value.tag] = event.step, value.simple_value
    return found


def test_tensorboard_has_each_finished_trial_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    (log,) = open_logs(tmp_path, None, "search", goes_on=False)
    hook = logged([log])
    hook(progress(trial(0), trial(1, "RUNNING"), message=None))  # a mere tick
    assert len(log) == 0
    hook(progress(trial(0), trial(1, "RUNNING"), trial(2, "FAIL", interrupted=True), trial(3, "PRUNED")))
    assert sorted(path.name for path in (tmp_path / "search").iterdir()) == ["trial-00000", "trial-00003"]
    files = list((tmp_path / "search" / "trial-00000").iterdir())
    hook(progress(trial(0), trial(1)))
    assert list((tmp_path / "search" / "trial-00000").iterdir()) == files
    assert len(log) == 3
    found = scalars(tmp_path / "search" / "trial-00001")
    assert found["train_energy_j"] == (1, 12.5)
    assert found["accuracy"] == (1, pytest.approx(0.91))
    assert "latency_ms" not in found
    content = files[0].read_bytes()
    for words in (b"kind of train_energy_j", b"modelled", b"stage 1 blocks", b"gate_-0"):
        assert words in content


def test_mlflow_has_each_finished_trial_once_as_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.chdir(tmp_path)
    uri = (tmp_path / "mlruns").as_uri()
    logs = open_logs(None, uri, "search", goes_on=False)
    write_finished(logs, Result(trial(0), trial(1, "FAIL", failure="out of memory")))  # type: ignore[arg-type]
    again = open_logs(None, uri, "search", goes_on=True)
    write_finished(again, Result(trial(0), trial(1, "FAIL"), trial(2, "PRUNED")))  # type: ignore[arg-type]
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("search").experiment_id
    runs = {run.data.tags["greennas.trial"]: run for run in client.search_runs([experiment])}
    assert {number: run.info.status for number, run in runs.items()} == {"0": "FINISHED", "1": "FAILED", "2": "KILLED"}
    assert runs["0"].data.metrics == {"accuracy": 0.9, "train_energy_j": 12.5}
    assert runs["0"].data.params["kind of train_energy_j"] == "modelled"
    assert runs["0"].data.params["widths"] == "[8, 16]"
    assert len(client.search_runs([experiment])) == 3
    with pytest.raises(ConfigError, match="another search named 'search'"):
        open_logs(None, uri, "search", goes_on=False)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_log_that_cannot_be_kept_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        TensorBoardLog(tmp_path / "file", "search")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install 'greennas\[mlflow\]'"):
        MLflowLog("file:///nowhere", "search")


def test_a_log_that_fails_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")

    class Lost(TensorBoardLog):
        def write(self, trial: TrialRecord) -> None:
            raise ConnectionError("no route to host")

    kept, seen = TensorBoardLog(tmp_path / "b", "search"), []
    hook = logged([Lost(tmp_path / "a", "search"), kept], seen.append)
    with pytest.warns(UserWarning, match=r"Lost is given up \(no route to host\)"):
        hook(progress(trial(0)))
    hook(progress(trial(0), trial(1)))
    assert len(kept) == 2
    assert len(seen) == 2


def test_mlflow_at_a_place_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    (tmp_path / "file").write_text("mine")
    for uri in ((tmp_path / "file" / "runs").as_uri(), "nonsense://server"):
        with pytest.raises(
            ConfigError, match=r"MLflow at .* cannot be used .*; check --mlflow and the server"
        ) as caught:
            MLflowLog(uri, "search")
        assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
