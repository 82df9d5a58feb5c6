"""Files that are there whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greennas.errors import ConfigError, RunError, bare_reason


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary neighbour to write; it takes the place of ``path`` once it is safely on the disk.

    A reader, or a machine that stops, meets the old file or the whole new one. If the block raises, nothing changes.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def held(path: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock file ``path`` for one process; the kernel lets go of it however the process ends.

    Raises:
        RunError: another process holds it, as ``otherwise`` says, or it cannot be written.
    """
    try:
        lock = path.open("w")
    except OSError as error:
        raise RunError(f"{path.parent} cannot be written ({bare_reason(error)}); make it writable.") from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(otherwise) from error
        yield


def check_file(path: Path) -> None:
    """Look whether a file can be written, before the work that it is to hold is done.

    Raises:
        ConfigError: there is no folder for it, or a folder of its name.
    """
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK | os.X_OK) or not path.absolute().parent.is_dir():
        reason = "it is a folder" if path.is_dir() else f"there is no folder {path.parent} to write into"
        raise ConfigError(f"{path} cannot be written: {reason}; choose another file.")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
