"""A search from its settings to its result: new ones, and those that go on."""

from __future__ import annotations

import contextlib
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from greennas import results as keys
from greennas.config import SearchConfig, load_config
from greennas.errors import ConfigError
from greennas.ledger import Ledger
from greennas.log import LOGGER, logged_to
from greennas.loop import ProgressHook, SearchLoop
from greennas.outputs import write_all
from greennas.prepare import prepare
from greennas.results import SearchResult
from greennas.run import RunFolder, default_path
from greennas.sampler.limits import limits
from greennas.setup import Setup
from greennas.storage import open_storage

_PROBE = "probe"
_DONE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def run_search(config: SearchConfig, out: Path | None = None, on_progress: ProgressHook | None = None) -> SearchResult:
    """Run a new search.

    Args:
        config: its settings.
        out: the new run folder; None for one under ``runs/``.
        on_progress: called after each event and about once a second.

    Raises:
        GreenNASError: one sentence on what is wrong; nothing has been written then.
    """
    with contextlib.closing(prepare(config)) as setup:
        if setup.config.storage is not None:
            open_storage(setup.config.storage)  # says that it does not answer before there is a folder
        path = out if out is not None else default_path(setup.config)
        cluster_devices = [] if setup.cluster is None else setup.device_kinds
        run = RunFolder.create(path, setup.config, cluster_devices=cluster_devices)
        return _drive(setup, run, on_progress)


def continue_search(
    path: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    file: Path | None = None,
    out: Path | None = None,
    on_progress: ProgressHook | None = None,
) -> SearchResult:
    """Go on with a run that was stopped or killed, or that has more budget now.

    Args:
        path: the run folder.
        overrides: dotted names to new values; only budgets, workers and the executor may change, None leaves as is.
        assignments: the same as ``key=value``.
        file: not allowed: the run has its own configuration.
        out: not allowed: the run keeps its folder.
        on_progress: as for ``run_search``.

    Raises:
        GreenNASError: as for ``run_search``.
    """
    run = RunFolder.open(path)
    if file is not None or out is not None:
        raise ConfigError(
            f"--resume {path} goes on with the run's own settings and folder; leave out --config and --out."
        )
    before = run.config
    after = load_config(run.config_file, assignments, overrides)
    free = ("trials", "energy_budget_j", "time_budget_s", "workers", "limits", "executor", "cluster")
    # How energy is modelled stays; what the bill says beside it may change.
    same_model = before.energy.watts_per_core == after.energy.watts_per_core
    for name in SearchConfig.model_fields:
        if name in free or (name == "energy" and same_model):
            continue
        if getattr(before, name) != getattr(after, name):
            raise ConfigError(
                f"The run in {path} was made with {name}: {getattr(before, name)}; only budgets, workers and "
                "where they run may change when it is resumed, so start a new search for that."
            )
    with contextlib.closing(prepare(after)) as setup:
        return _drive(setup, run, on_progress)


def search(
    space: str = "nasbench201",
    data: str = "digits",
    *,
    data_dir: str | Path | None = None,
    trials: int | None = None,
    out: str | Path | None = None,
    on_progress: ProgressHook | None = None,
    **settings: Any,
) -> SearchResult:
    """Search ``space`` for the networks with the best accuracy for their energy on ``data``.

    Args:
        space: name of a search space or path of a Python file.
        data: ``digits``, ``fashion-mnist``, ``folder:DIR``, ... as for ``load_data``.
        data_dir: folder of the data set's published files.
        trials: trainings to begin.
        out: run folder; None for a new one under ``runs/``.
        on_progress: called after each event and about once a second.
        settings: further fields of ``SearchConfig``, nested ones as dictionaries (``training={"epochs": 2}``).

    Returns:
        The result, with ``.front``, ``.trials`` and ``.cost``.

    Raises:
        GreenNASError: one sentence on what is wrong; nothing has been written then.
    """
    given = {"space": space, "data.name": data, "data.dir": data_dir, "trials": trials, **settings}
    return run_search(load_config(overrides=given), None if out is None else Path(out), on_progress)


def _drive(setup: Setup, run: RunFolder, on_progress: ProgressHook | None) -> SearchResult:
    with run.writing(), run.locked(), logged_to(run.log):
        run.check_devices(setup.device_kinds if setup.cluster is not None else ())
        run.keep_config(setup.config)
        data = run.work / "data"
        setup.save_data(data)
        study = run.start_study()
        study.set_user_attr(keys.DATA, setup.data_facts)
        allowed = limits(**setup.config.constraints.model_dump())
        ledger = Ledger(study, setup.config.metrics, allowed)
        results = run.work / "results"
        ledger.recover(results)
        executor = setup.executor(results, data)
        known = len(study.get_trials(deepcopy=False))
        LOGGER.info("The search %s on %s.", f"goes on after {known} trials" if known else "begins", platform.node())
        try:
            loop = SearchLoop(setup, run, ledger, executor, data, on_progress)
            loop.run()
        finally:
            executor.close()
        if loop.stopped:
            ledger.recover(results)
        result = SearchResult(run.config, study, run.path)
        write_all(run, result)
        counts = ", ".join(f"{result.count(state)} {state.name}" for state in _DONE)
        LOGGER.info("The search %s: %s.", "was stopped" if loop.stopped else "has ended", counts)
        if not loop.stopped:
            shutil.rmtree(run.work, ignore_errors=True)
        return result
