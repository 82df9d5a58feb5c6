"""Local worker processes: one a task, forked from a server that has torch loaded already."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection as mp_connection
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from greennas.energy import Reading
from greennas.energy.cpu_time import DEFAULT_WATTS_PER_CORE, CpuTime
from greennas.executors import worker
from greennas.executors.base import Event, Finished, RungReached
from greennas.executors.limits import too_large, too_long
from greennas.machine import resident_bytes
from greennas.measurement import EvaluationTask, Measurement

_TICKS = os.sysconf("SC_CLK_TCK")
_GRACE_S = 15.0
"""Seconds beyond its limit after which a worker is killed; until then it ends itself, and its energy is metered."""
_GRACE = 1.25
"""The same for memory, as a factor."""
_PRELOAD = ["torch", "torch._dynamo", "greennas.executors.worker"]  # optimizers import torch._dynamo


@dataclass
class _Running:
    task: EvaluationTask
    process: BaseProcess
    connection: Connection
    device: str
    result: Path
    started_s: float
    seconds: float
    cpu_seconds: float = 0.0
    done: bool = False


class LocalExecutor:
    """Runs tasks in processes of this machine.

    Args:
        devices: one a worker, as torch names them; a worker keeps its device.
        directory: where workers leave their results; what an earlier run left there is kept.
        memory_bytes: limit on each worker's memory; 0 for none.
        seconds: limit on each task's duration, unless the task has one of its own.
        watts_per_core: for the energy of a worker that died; None for the default band.
        threads: compute threads of each worker. One is best: two spinning OpenMP threads a core cost
            several times the CPU time, and spoil the energy.
    """

    def __init__(
        self,
        devices: Sequence[str],
        directory: Path,
        *,
        memory_bytes: int = 0,
        seconds: float = 1800.0,
        watts_per_core: tuple[float, float, float] | None = None,
        threads: int = 1,
    ) -> None:
        self._free = {f"worker-{i}": device for i, device in enumerate(devices)}
        self._directory = directory
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._watts = watts_per_core
        self._threads = threads
        self._running: dict[str, tuple[str, _Running]] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        directory.mkdir(parents=True, exist_ok=True)
        with without_main_module():
            forkserver.ensure_running()

    @property
    def free(self) -> int:
        """Number of idle workers."""
        return len(self._free)

    def submit(self, task_id: str, task: EvaluationTask) -> None:
        """Start ``task`` on an idle worker."""
        name = min(self._free)
        device = self._free.pop(name)
        task = replace(task, device=device)
        ours, theirs = self._context.Pipe()
        result = result_path(self._directory, task_id)
        result.unlink(missing_ok=True)
        seconds = self._seconds if task.seconds is None else task.seconds
        process = self._context.Process(
            target=worker.run,
            args=(theirs, task.to_json(), str(result), self._memory_bytes, seconds, self._threads),
            name=f"greennas-{name}",
            daemon=True,
        )
        with without_main_module():
            process.start()
        theirs.close()
        self._running[task_id] = (name, _Running(task, process, ours, device, result, time.monotonic(), seconds))

    def wait(self, timeout_s: float) -> list[Event]:
        """Events since the last call, after at most ``timeout_s`` seconds."""
        events: list[Event] = []
        deadline = time.monotonic() + timeout_s
        while not events:
            # Looked at twice a second, so that a worker that dies leaves a recent figure of its CPU time.
            step = max(0.0, min(0.5, deadline - time.monotonic()))
            handles = [run.connection for _, run in self._running.values()]
            ready = mp_connection.wait(handles, step)
            for task_id, (name, run) in list(self._running.items()):
                run.cpu_seconds = _cpu_seconds(run.process.pid) or run.cpu_seconds
                event = self._event(task_id, name, run, run.connection in ready)
                if event is not None:
                    events.append(event)
            if time.monotonic() >= deadline:
                break
        return events

    def answer(self, task_id: str, go_on: bool) -> None:
        """Tell a training that has reached a rung to go on or to stop there."""
        with contextlib.suppress(OSError):  # it died meanwhile: the next wait says so
            self._running[task_id][1].connection.send(go_on)

    def drawn(self) -> dict[str, Reading]:
        """What each running task has drawn until now, by its id: modelled, of its CPU time."""
        return {task_id: self._reading(run) for task_id, (_, run) in self._running.items()}

    def close(self) -> list[Finished]:
        """Kill what still runs; what it drew until then comes back as failed measurements."""
        killed = []
        for task_id, (name, run) in list(self._running.items()):
            run.cpu_seconds = _cpu_seconds(run.process.pid) or run.cpu_seconds
            run.process.kill()
            killed.append(self._finish(task_id, name, run, "it was stopped with the search"))
        return killed

    def _event(self, task_id: str, name: str, run: _Running, readable: bool) -> Event | None:
        if readable:
            try:
                message = run.connection.recv()
            except (EOFError, OSError):
                return self._finish(task_id, name, run, self._death(run), died=True)
            if message is not None:
                return RungReached(task_id, message)
            return self._finish(task_id, name, run, None)
        beyond = self._beyond(run)
        if beyond is not None:
            run.process.kill()
            return self._finish(task_id, name, run, beyond)
        return None

    def _beyond(self, run: _Running) -> str | None:
        """Why a worker that did not end itself at its limits has to be ended."""
        if time.monotonic() - run.started_s > run.seconds + _GRACE_S:
            return too_long(run.seconds)
        resident = resident_bytes(run.process.pid or 0)
        if self._memory_bytes and resident is not None and resident > _GRACE * self._memory_bytes:
            return too_large(self._memory_bytes)
        return None

    def _finish(self, task_id: str, name: str, run: _Running, reason: str | None, died: bool = False) -> Finished:
        run.process.join()
        run.connection.close()
        del self._running[task_id]
        self._free[name] = run.device
        if reason is None:
            measurement = Measurement.from_json(json.loads(run.result.read_text()))
        else:
            measurement = Measurement.failed(reason, {"train": (self._reading(run),)})
        return Finished(task_id, name, measurement, died)

    def _reading(self, run: _Running) -> Reading:
        seen = f"{run.cpu_seconds:.2f} s"
        note = f"The worker ended without a word; its CPU time was last seen at {seen}, so that the figure may be low."
        return CpuTime(self._watts or DEFAULT_WATTS_PER_CORE).reading(
            run.cpu_seconds, time.monotonic() - run.started_s, late_s=0.5, notes=(note,)
        )

    def _death(self, run: _Running) -> str:
        run.process.join()
        code = run.process.exitcode
        if code is not None and code < 0:
            hint = "; it may have run out of memory" if -code == signal.SIGKILL else ""
            return f"the worker died of signal {-code} ({signal.Signals(-code).name}){hint}"
        return f"the worker ended with exit code {code} and no result"


def result_path(directory: Path, task_id: str) -> Path:
    """Where a worker leaves the measurement of a task."""
    return directory / f"{task_id}.json"


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """Keep workers from importing the user's script again, so that it needs no ``if __name__ == "__main__"``."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _cpu_seconds(pid: int | None) -> float | None:
    """User and system seconds of a process; None once it is gone."""
    try:
        # Fields after the command's closing bracket: see proc(5), utime is the 14th of the file.
        fields: list[Any] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(int(field) for field in fields[11:13]) / _TICKS
