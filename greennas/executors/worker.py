"""Inside a worker process: run one task, write its result, tell the driver."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from greennas.errors import TrainingError
from greennas.evaluate import EvaluationTask, run_task
from greennas.executors.limits import limited
from greennas.files import write_text
from greennas.measurement import Measurement
from greennas.trainer import RungReport
from greennas.training.memory import keep_freed_memory


def run(
    connection: Connection, task: Mapping[str, Any], result: str, memory_bytes: int, seconds: float, threads: int
) -> None:
    """Run one task; its measurement goes to the file ``result`` before the driver hears of it.

    Args:
        connection: to the driver: rung reports go out, answers come in.
        task: ``EvaluationTask`` as JSON.
        result: path of the measurement's JSON; written whole or not at all.
        memory_bytes: limit on the process's memory, 0 for none.
        seconds: limit on the task's duration.
        threads: compute threads.
    """
    # Ctrl-C reaches the whole process group; only the driver decides what stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_driver()
    work = EvaluationTask.from_json(task)
    _limit_memory(memory_bytes if work.device == "cpu" else 0)
    keep_freed_memory()
    torch.set_num_threads(threads)

    def on_rung(report: RungReport) -> bool:
        connection.send(report)
        return bool(connection.recv())

    try:
        with limited(seconds, memory_bytes):
            measurement = run_task(work, on_rung)
    except TrainingError as error:  # between two phases of the task, where nothing was metered
        measurement = Measurement.failed(str(error))
    write_text(Path(result), json.dumps(measurement.to_json()))
    connection.send(None)


def _die_with_driver() -> None:
    """An orphan would go on burning energy and spoil the next measurement on this machine."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _limit_memory(memory_bytes: int) -> None:
    with contextlib.suppress(OSError):  # if the machine runs out all the same, this process goes first
        Path("/proc/self/oom_score_adj").write_text("800")
    if memory_bytes > 0:  # here allocations fail; CUDA reserves address space that such a limit would count
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
