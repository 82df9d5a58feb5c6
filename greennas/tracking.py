"""Finished trials in TensorBoard's files or on an MLflow server: their parameters, metrics, joules and kinds.

A log is derived from the study, like the tables: a trial that stands in it already is not written again, so that a
search that goes on adds only what is new.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from greennas.errors import ConfigError
from greennas.libraries import load_library, quiet
from greennas.loop import Progress, ProgressHook
from greennas.results import SearchResult, TrialRecord
from greennas.storage import mask

_NUMBER = "greennas.trial"
_ENDED = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
"""Optuna's states of finished trials to MLflow's of runs."""


class Log(Protocol):
    """Where trials are written."""

    def __len__(self) -> int:
        """Trials that are written."""

    def has(self, trial: TrialRecord) -> bool:
        """Whether the trial is written already."""

    def write(self, trial: TrialRecord) -> None:
        """Write a finished trial."""


class TensorBoardLog:
    """A folder for TensorBoard; each trial is a run of its own, with its parameters as hyperparameters.

    Args:
        folder: where; made if need be.
        name: of the search, a folder below it.

    Raises:
        ConfigError: tensorboardX is missing, or the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._writer = load_library("tensorboardX", "tensorboard", "--tensorboard").SummaryWriter
        self._hparams = load_library("tensorboardX.summary", "tensorboard", "--tensorboard").hparams
        self._folder = folder / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder} cannot be written ({error.strerror}); give another --tensorboard.") from error

    def __len__(self) -> int:
        """Trials that are written."""
        return sum(each.is_dir() for each in self._folder.iterdir())

    def has(self, trial: TrialRecord) -> bool:
        """Whether the trial has its folder."""
        return self._path(trial).is_dir()

    def write(self, trial: TrialRecord) -> None:
        """Write the trial's events."""
        facts = {name: _scalar(value) for name, value in parameters(trial).items()}
        with quiet(), self._writer(str(self._path(trial))) as writer:
            for summary in self._hparams(facts, metrics(trial)):  # a row of TensorBoard's table of hyperparameters
                writer.file_writer.add_summary(summary)
            for name, value in metrics(trial).items():
                writer.add_scalar(name, value, trial.number)

    def _path(self, trial: TrialRecord) -> Path:
        return self._folder / f"trial-{trial.number:05d}"


class MLflowLog:
    """An experiment of MLflow; each trial is a run of it.

    Args:
        uri: tracking URI, as ``sqlite:///mlflow.db``, ``file:///home/me/mlruns`` or ``http://127.0.0.1:5000``.
        name: of the experiment: the search's.

    Raises:
        ConfigError: MLflow is missing, or there is no experiment to be had at the URI.
    """

    def __init__(self, uri: str, name: str) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # MLflow reports what it is used for, unless told not to
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # whoever gives file:// wants files
        library = load_library("mlflow", "mlflow", "--mlflow")
        self._entities = load_library("mlflow.entities", "mlflow", "--mlflow")
        try:
            with quiet():
                self._client = library.MlflowClient(tracking_uri=uri)
                found = self._client.get_experiment_by_name(name)
                self._experiment = found.experiment_id if found else self._client.create_experiment(name)
                runs = self._client.search_runs([self._experiment], max_results=50_000)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise ConfigError(
                mask(f"MLflow at {uri} cannot be used ({reason}); check --mlflow and the server.")
            ) from error
        self._known = {run.data.tags.get(_NUMBER) for run in runs if run.info.status in _ENDED.values()}

    def __len__(self) -> int:
        """Trials that are written."""
        return len(self._known)

    def has(self, trial: TrialRecord) -> bool:
        """Whether the experiment has a run of the trial that has ended."""
        return str(trial.number) in self._known

    def write(self, trial: TrialRecord) -> None:
        """Log the trial as a run that has ended."""
        entities, number = self._entities, str(trial.number)
        with quiet():
            name = trial.architecture_id or f"trial {number}"
            run = self._client.create_run(self._experiment, run_name=name, tags={_NUMBER: number})
            self._client.log_batch(
                run.info.run_id,
                metrics=[entities.Metric(key, value, run.info.start_time, 0) for key, value in metrics(trial).items()],
                params=[entities.Param(key, str(_scalar(value))) for key, value in parameters(trial).items()],
            )
            self._client.set_terminated(run.info.run_id, _ENDED[trial.state])
        self._known.add(number)


def open_logs(tensorboard: Path | None, mlflow: str | None, name: str, *, goes_on: bool) -> list[Log]:
    """The logs that a search is to keep.

    Args:
        tensorboard: folder; None for none.
        mlflow: tracking URI; None for none.
        name: of the search.
        goes_on: whether the search goes on; a new one finds no trials under its name.

    Raises:
        ConfigError: a log cannot be kept, or has another search under this name.
    """
    logs: list[Log] = []
    if tensorboard is not None:
        logs.append(TensorBoardLog(tensorboard, name))
    if mlflow is not None:
        logs.append(MLflowLog(mlflow, name))
    for log in logs:
        if len(log) and not goes_on:
            raise ConfigError(f"The log has another search named {name!r} already; give this one another --out.")
    return logs


def parameters(trial: TrialRecord) -> dict[str, Any]:
    """What a trial was: its architecture's id and parameters, its state, and the kind of each energy."""
    found: dict[str, Any] = {"architecture": trial.architecture_id, "state": trial.state}
    found |= {_plain(name): value for name, value in (trial.architecture.params if trial.architecture else {}).items()}
    return found | {f"kind of {name}": kind for name, kind in trial.kinds.items()}


def metrics(trial: TrialRecord) -> dict[str, float]:
    """What came of a trial: the metrics that are known, under their names with units."""
    return {_plain(name): float(value) for name, value in trial.metrics.items() if value is not None}


def logged(logs: Sequence[Log], then: ProgressHook | None = None) -> ProgressHook:
    """A progress hook that writes finished trials as they come, and then calls another one.

    A log that fails is given up with a warning: the search goes on, and the study has everything.
    """
    left = list(logs)

    def hook(progress: Progress) -> None:
        if progress.message is not None:
            write_finished(left, progress.result)
        if then is not None:
            then(progress)

    return hook


def write_finished(logs: list[Log], result: SearchResult) -> None:
    """Write the finished trials that are not in each log yet; a log that fails is taken out of ``logs``."""
    for log in list(logs):
        try:
            for trial in result.trials:
                if trial.state in _ENDED and not trial.interrupted and not log.has(trial):
                    log.write(trial)
        except Exception as error:
            logs.remove(log)
            warnings.warn(
                f"{type(log).__name__} is given up ({error}); the search goes on, and with --resume it catches up.",
                stacklevel=2,
            )


def _plain(name: str) -> str:
    """A name as MLflow takes it: letters, digits, and ``_-. /:``."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)


def _scalar(value: Any) -> bool | int | float | str:
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
