"""The run folder: configuration, environment, and the study, which is the one source of truth.

config.yaml        settings as resolved
environment.json   packages, processor, GPU, git commit
study.journal      the Optuna study
trials.csv, front.json, front.csv, cost.json, report.html     derived: rebuilt from the study
checkpoints/       weights of the front, by architecture id
work/              what a run in progress needs: data as tensors, results that workers have left
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage

from greennas.config import SearchConfig, load_config
from greennas.energy.devices import describe_devices
from greennas.errors import RunError, bare_reason
from greennas.files import held, write_text
from greennas.journal import Journal
from greennas.libraries import quiet
from greennas.storage import mask, open_storage

STUDY_NAME = "greennas"
_PACKAGES = ("greennas", "torch", "optuna", "numpy", "scipy", "scikit-learn", "nvidia-ml-py")
_DAMAGED = (KeyError, TypeError, ValueError)
"""What Optuna raises on a journal that it did not write."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class RunFolder:
    """A folder with one search in it.

    Args:
        path: an existing run folder; see ``create`` and ``open``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.environment_file = path / "environment.json"
        self.journal = path / "study.journal"
        self.checkpoints = path / "checkpoints"
        self.work = path / "work"
        self.report = path / "report.html"
        self.log = path / "search.log"

    @classmethod
    def create(cls, path: Path, config: SearchConfig, **about: Any) -> RunFolder:
        """Make a new run folder.

        Args:
            path: where.
            config: the settings.
            about: JSON values to record beside the environment.

        Raises:
            RunError: the folder holds something already or cannot be written.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            hint = "continue it with --resume" if (path / "config.yaml").is_file() else "choose another --out"
            raise RunError(f"{path} is not an empty folder; {hint}.")
        run = cls(path)
        try:
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            run.work.mkdir(exist_ok=True)
            # A database holds the studies of many runs, which may have folders of the same name.
            study = STUDY_NAME if config.storage is None else f"{path.name}-{uuid.uuid4().hex[:8]}"
            write_text(run.environment_file, json.dumps({**environment(), "study": study, **about}, indent=2))
            write_text(run.config_file, config.to_yaml())
        except OSError as error:
            raise RunError(
                f"The run folder {path} cannot be written ({bare_reason(error)}); choose another --out."
            ) from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            RunError: the path is not a run folder.
        """
        run = cls(Path(path))
        if not run.config_file.is_file():
            raise RunError(f"{path} is not a run folder (it has no config.yaml); give the --out of a search.")
        return run

    @property
    def config(self) -> SearchConfig:
        """The settings as resolved."""
        return load_config(self.config_file)

    def keep_config(self, config: SearchConfig) -> None:
        """Replace the settings, for a run that goes on with other budgets."""
        write_text(self.config_file, config.to_yaml())

    def devices(self) -> dict[str, Any]:
        """The devices that the run was begun on, as ``describe_devices`` gave them.

        Raises:
            RunError: they were not recorded.
        """
        found: dict[str, Any] = self._recorded("devices")
        return found

    def trained_on(self) -> list[str]:
        """Names of the kinds of devices that networks are trained on: the GPUs, or without any the processor.

        Raises:
            RunError: they were not recorded.
        """
        return list(self._recorded("cluster_devices", [])) or _kinds(self.devices())

    def _recorded(self, name: str, default: Any = None) -> Any:
        try:
            found = json.loads(self.environment_file.read_text())
            return found[name] if default is None else found.get(name, default)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise RunError(f"{self.environment_file} cannot be read ({error!r}); start a new search.") from error

    def check_devices(self, kinds: Sequence[str] = ()) -> None:
        """Refuse to go on with a run on other hardware: joules of different devices do not compare.

        Args:
            kinds: names of the devices that a cluster trains on; none where this machine trains.

        Raises:
            RunError: the processor or the GPUs are not those that the run was begun on.
        """
        begun, now = self.devices(), describe_devices()
        before = self._recorded("cluster_devices", [])
        if kinds or before:
            same = set(kinds or _kinds(now)) <= set(before or _kinds(begun))
            was, here = ", ".join(self.trained_on()), ", ".join(kinds or _kinds(now))
        else:
            was, here = device_names(begun), device_names(now)
            same = was == here
        if not same:
            raise RunError(
                f"The run in {self.path} was begun on {was} and this is {here}; their joules do not compare, "
                "so start a new search here."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one driver; the kernel lets go of it however the process ends.

        Raises:
            RunError: another search holds it.
        """
        with held(self.path / ".lock", f"Another search is running in {self.path}; wait for it or stop it first."):
            yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a full or read-only folder and a database that is gone into one sentence each.

        What was written until then is whole.

        Raises:
            RunError: instead of these.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except OSError as error:
            denied = isinstance(error, PermissionError) and self.path in Path(str(error.filename)).parents
            if not denied and error.errno not in _NO_ROOM:
                raise
            raise RunError(
                f"The run folder {self.path} cannot be written ({error.strerror}); "
                f"{'make it writable' if denied else 'make room'}, and go on with --resume {self.path}."
            ) from error
        except (StorageInternalError, SQLAlchemyError) as error:
            reason = _innermost(error)
            raise RunError(
                f"The connection to the study's storage {self.config.storage or self.journal} was lost ({reason}); "
                f"nothing that had finished is lost, so go on with --resume {self.path} once it is back."
            ) from error

    def start_study(self) -> optuna.Study:
        """The study for its one writer: made if need be, mended after a kill. Call it under ``locked``.

        Raises:
            RunError: the journal cannot be written, or is damaged elsewhere than in its last line.
            ConfigError: the database does not answer.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._mend_journal()
        config = self.config
        try:
            study = optuna.create_study(
                study_name=self.study_name,
                storage=self._storage(config.storage),
                directions=config.directions,
                sampler=optuna.samplers.RandomSampler(seed=config.seed),  # never asked: all trials are enqueued
                load_if_exists=True,
            )
            if study.metric_names is None:  # without them a dashboard speaks of objectives 0 and 1
                with quiet():
                    study.set_metric_names(config.metrics)
            return study
        except OSError as error:
            raise RunError(
                f"The study {self.journal} cannot be written ({bare_reason(error)}); mend that, and go on with "
                f"--resume {self.path}."
            ) from error
        except _DAMAGED as error:
            raise self._unreadable(error) from error

    def read_study(self) -> optuna.Study:
        """The study to look at.

        Raises:
            RunError: the search has not begun, or the journal is damaged.
            ConfigError: the database does not answer.
        """
        url = self.config.storage
        if url is None and not self.journal.is_file():
            raise RunError(f"The search in {self.path} has not begun; start it with --resume {self.path}.")
        try:
            return optuna.load_study(study_name=self.study_name, storage=self._storage(url))
        except _DAMAGED as error:
            raise self._unreadable(error) from error

    @property
    def study_name(self) -> str:
        """Name of the study in its storage."""
        return str(self._recorded("study", STUDY_NAME))

    def _unreadable(self, error: Exception) -> RunError:
        return RunError(f"The study {self.journal} cannot be read ({error!r}); is it damaged or from another program?")

    def _storage(self, url: str | None) -> BaseStorage:
        return JournalStorage(Journal(self.journal)) if url is None else open_storage(url)

    def _mend_journal(self) -> None:
        """After a kill: drop the lock that it left and the line that it tore, which would poison what follows."""
        # Optuna's lock is a symbolic link; with the folder's own lock in hand nobody else can hold it.
        Path(f"{self.journal}.lock").unlink(missing_ok=True)
        if not self.journal.is_file():
            return
        with open(self.journal, "rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)


def default_path(config: SearchConfig) -> Path:
    """``runs/<space>-<data>-<date>-<time>``, with a number where that exists."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    data = config.data.name.split(":")[0]
    base = Path("runs") / f"{Path(config.space).stem}-{data}-{stamp}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def environment() -> dict[str, Any]:
    """What a result depends on beside its settings."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "devices": describe_devices(),
        "cores": len(os.sched_getaffinity(0)),
        "git_commit": _git_commit(),
        "command": [mask(argument) for argument in sys.argv],
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _kinds(devices: dict[str, Any]) -> list[str]:
    """Names of what networks are trained on: the GPUs, or without any the processor."""
    return sorted({gpu["name"] for gpu in devices["gpus"]}) or [devices["cpu"]["model"]]


def device_names(devices: dict[str, Any]) -> str:
    """What energies are of: processor and GPUs, from what ``describe_devices`` gave."""
    return ", ".join([devices["cpu"]["model"], *sorted(gpu["name"] for gpu in devices["gpus"])])


def _innermost(error: BaseException) -> str:
    """First line of what the database's driver said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return mask(str(error)).strip().partition("\n")[0].rstrip(".")


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
