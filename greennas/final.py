"""The end of a search: the final front is tested once and its energy measured again; the bill is closed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from greennas.carbon import CostEntry, Phase
from greennas.energy import Kind, Reading
from greennas.executors import Executor, Finished
from greennas.ledger import Ledger, all_costs
from greennas.results import SearchResult, TrialRecord
from greennas.run import RunFolder
from greennas.setup import Setup

_CONFIRM = "confirm"


class FrontCheck:
    """What is done to the networks of the final front after the search.

    Args:
        setup: what the search works with.
        run: its folder.
        ledger: its study.
        executor: runs the tasks; nothing else runs there any more.
        data: folder of the data set's files.
        tell: takes sentences on what has happened.
    """

    def __init__(
        self,
        setup: Setup,
        run: RunFolder,
        ledger: Ledger,
        executor: Executor,
        data: Path,
        tell: Callable[[str], None],
    ) -> None:
        self._setup = setup
        self._run = run
        self._ledger = ledger
        self._executor = executor
        self._data = data
        self._tell = tell

    def test(self, stopped: Callable[[], bool]) -> list[CostEntry]:
        """Look at the test split, once for each network of the front; what that cost.

        Args:
            stopped: whether the user wants the search to end.
        """
        spent: list[CostEntry] = []
        todo = [record for record in self._result().front if not record.test]
        todo = [record for record in todo if checkpoint_path(self._run, record.architecture_id).is_file()]
        running: dict[str, int] = {}
        while (todo or running) and not stopped():
            while todo and self._executor.free:
                record = todo.pop(0)
                assert record.architecture is not None
                params = record.architecture.params
                checkpoint = str(checkpoint_path(self._run, record.architecture_id))
                name = f"test-{record.number}"
                task = self._setup.task(
                    "test", self._data, params, plan=self._setup.plan(params), checkpoint=checkpoint
                )
                self._executor.submit(name, task)
                running[name] = record.number
            for event in self._executor.wait(1.0):
                assert isinstance(event, Finished)
                number = running.pop(event.task_id)
                spent += self._book(Phase.TEST, event)
                if event.measurement.ok:
                    self._ledger.add_test(number, event.measurement)
                else:
                    self._tell(f"trial {number} could not be tested: {event.measurement.reason}")
        return spent

    def confirm(self, stopped: Callable[[], bool]) -> list[CostEntry]:
        """Measure the front's training energy again, its networks in turns; what that cost.

        Left out where the settings say so, or where the same front was measured before.

        Args:
            stopped: whether the user wants the search to end.
        """
        settings = self._setup.config.energy
        result = self._result()
        front = [record for record in result.front if record.architecture is not None]
        if not front or not settings.confirm or all(record.confirmed for record in front) or stopped():
            return []
        self._tell(f"the energy of the {len(front)} networks of the front is measured again")
        candidates = tuple(record.architecture.params for record in front if record.architecture)
        task = self._setup.task(
            "confirm",
            self._data,
            candidates=candidates,
            plans=tuple(self._setup.plan(params) for params in candidates),
            repeats=settings.confirm,
            window_s=self._window_s(result, len(front)),
        )
        # Nothing else is trained now, so that machine-wide counters can be used even if several workers trained;
        # other people's work may run on a cluster.
        self._executor.submit(_CONFIRM, replace(task, exclusive=self._setup.exclusive or self._setup.cluster is None))
        while not stopped():
            for event in self._executor.wait(1.0):
                assert isinstance(event, Finished)
                self._keep(front, event)
                return self._book(Phase.CONFIRMATION, event)
        return []

    def _keep(self, front: Sequence[TrialRecord], event: Finished) -> None:
        measurement = event.measurement
        if not measurement.ok:
            self._tell(f"the front's energy could not be measured again: {measurement.reason}")
            return
        found = zip(front, measurement.confirmations, strict=True)
        self._ledger.set_confirmations({record.number: confirmation for record, confirmation in found})

    def _window_s(self, result: SearchResult, networks: int) -> float:
        """Longest window with which all of them stay within their share of the time that was spent on trainings."""
        settings = self._setup.config.energy
        trained_s = sum(record.metrics.get("train_seconds") or 0.0 for record in result.trials)
        return settings.confirm_share * trained_s / (networks * settings.confirm)

    def _book(self, phase: Phase, event: Finished) -> list[CostEntry]:
        costs = all_costs(event.measurement, phase, event.worker)
        self._ledger.add_driver_costs(costs)
        return costs

    def _result(self) -> SearchResult:
        return SearchResult(self._setup.config, self._ledger.study, self._run.path)


def checkpoint_path(run: RunFolder, architecture_id: str) -> Path:
    """Where the trained weights of an architecture lie."""
    return (run.checkpoints / f"{architecture_id}.safetensors").absolute()


@contextlib.contextmanager
def metered(setup: Setup, ledger: Ledger) -> Iterator[list[CostEntry]]:
    """Meter all that is drawn meanwhile; the bill gets what the entries in the list do not account for.

    Args:
        setup: what the search works with.
        ledger: its study.
    """
    entries: list[CostEntry] = []
    with contextlib.ExitStack() as stack:
        meters = [stack.enter_context(contextlib.closing(meter)) for meter in setup.meters()]
        with contextlib.ExitStack() as running:
            windows = [running.enter_context(meter.window()) for meter in meters]
            yield entries
        totals = [r for i, window in enumerate(windows) for r in window.readings if i == 0 or r.component == "gpu"]
    ledger.add_metered(totals)
    ledger.add_driver_costs(remainders(totals, entries))


def remainders(totals: Sequence[Reading], entries: Sequence[CostEntry]) -> list[CostEntry]:
    """What was metered over the session and is in no entry: starting workers, waiting, writing, drawing progress."""
    found = []
    for total in totals:
        if total.energy_j is None or total.low_j is None or total.high_j is None or total.kind is Kind.UNAVAILABLE:
            continue
        parts = [e.reading for e in entries if (e.reading.component, e.reading.node) == (total.component, total.node)]
        if any(part.kind is not total.kind for part in parts):
            continue  # metered whole and modelled in parts: the difference of two kinds is no energy
        if total.component == "gpu":
            parts = [part for part in parts if part.uuid == total.uuid]
        figures = [
            max(whole - sum(getattr(part, name) or 0.0 for part in parts), 0.0)
            for name, whole in (("low_j", total.low_j), ("energy_j", total.energy_j), ("high_j", total.high_j))
        ]
        low, mid, high = sorted(figures)
        note = "The session's metered total less what its trainings, probes and screening were metered at."
        seconds = max(total.seconds - sum(part.seconds for part in parts), 0.0)
        reading = replace(total, low_j=low, energy_j=mid, high_j=high, seconds=seconds, notes=(note,))
        # The loop's own work is on the CPU: what is left of a GPU is what it drew without work.
        phase = Phase.IDLE if total.component == "gpu" else Phase.OVERHEAD
        found.append(CostEntry(phase, "driver", reading, derived=True))
    return found
