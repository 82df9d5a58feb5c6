"""What a task may take of its machine, watched from inside of its process, where its energy is metered."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from greennas.errors import TrainingError
from greennas.machine import resident_bytes, usable_memory_bytes

_PERIOD_S = 0.1
_SHARE = 0.8


def memory_share(workers: float) -> int:
    """Bytes that one of ``workers`` may have by default: 80% of the memory, divided by them."""
    return int(_SHARE * usable_memory_bytes() / workers)


def too_long(seconds: float) -> str:
    """Why a task that took more than ``seconds`` was ended."""
    return f"it took longer than the limit of {seconds:.4g} s"


def too_large(memory_bytes: int) -> str:
    """Why a task that took more than ``memory_bytes`` was ended."""
    return f"out of memory: it took more than its limit of {memory_bytes / 1e9:.3g} GB (limits.memory_gb)"


@contextmanager
def limited(seconds: float, memory_bytes: int) -> Iterator[None]:
    """End the block once it takes too long, or its process too much memory; for the main thread.

    Args:
        seconds: from now.
        memory_bytes: of the process, as ``resident_bytes`` counts them; 0: no limit.

    Raises:
        TrainingError: it was ended.
    """
    end_s = time.monotonic() + seconds
    ended = threading.Event()
    reasons: list[str] = []

    def watch() -> None:
        while not ended.wait(_PERIOD_S):
            if time.monotonic() > end_s:
                reasons.append(too_long(seconds))
            elif memory_bytes and (resident_bytes(os.getpid()) or 0) > memory_bytes:
                reasons.append(too_large(memory_bytes))
            else:
                continue
            signal.pthread_kill(main, signal.SIGUSR1)  # ends what the main thread waits for, too
            return

    def end(number: int, frame: FrameType | None) -> None:
        if not ended.is_set():
            raise TrainingError(reasons[0])

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, end)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, before)
