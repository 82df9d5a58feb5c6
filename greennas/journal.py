"""The study's journal on disk, in which what belongs together is written at once."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock


class Journal(BaseJournalBackend):
    """Optuna's journal file, line for line and under the same lock, for one storage.

    Each line that Optuna's own backend writes is forced to the disk by itself, which costs milliseconds, and a training
    has some thirty of them.

    Args:
        path: the file; made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = JournalFileSymlinkLock(str(path))
        self._count = self._offset = 0  # lines and bytes of the file that were read
        self._held: list[bytes] | None = None
        if not path.exists():
            path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """What was logged from a number on; a last line that is still being written is left for later."""
        if log_number_from < self._count:
            self._count = self._offset = 0
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._count += 1
                self._offset += len(line)
                if self._count > log_number_from:
                    yield json.loads(line)
        for line in (self._held or [])[max(log_number_from - self._count, 0) :]:
            yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add ``logs`` to the file, or to what ``together`` holds."""
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        if self._held is not None:
            self._held += lines
            return
        with self._locked():
            self._write(lines)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what is logged inside of the block at its end, and force it to the disk once.

        Other processes that want to write wait until then. A block inside of another is part of it.
        """
        if self._held is not None:
            yield
            return
        with self._locked():
            self._held = []
            try:
                yield
            finally:
                held, self._held = self._held, None
                if self._write(held) == self._offset:  # the storage has seen all of them: they are not read again
                    self._count += len(held)
                    self._offset += sum(map(len, held))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _write(self, lines: list[bytes]) -> int:
        """Append all of ``lines`` or, where the disk has no room for them, none; how long the file was before."""
        with open(self._path, "ab", buffering=0) as file:
            size = file.tell()
            left = memoryview(b"".join(lines))
            try:
                while left:
                    left = left[file.write(left) :]
                if lines:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        return size


def together(study: optuna.Study) -> contextlib.AbstractContextManager[None]:
    """A block in which what is written into ``study`` gets onto the disk at once, at the end."""
    storage = study._storage
    if isinstance(storage, JournalStorage) and isinstance(storage._backend, Journal):
        return storage._backend.together()
    return contextlib.nullcontext()
