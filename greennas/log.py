"""What a search does, line by line: in its run folder, and on the terminal with ``--verbose``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from greennas.errors import GreenNASError
from greennas.storage import mask

LOGGER = logging.getLogger("greennas.search")
"""Events at level INFO, why and with what expectation at level DEBUG. A run's own handlers alone get them."""
LOGGER.propagate = False
LOGGER.addHandler(logging.NullHandler())


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


class _File(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A full disk ends the search where it writes its study, with a sentence; not here."""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class _Hook(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.INFO:  # the others are shown as progress
            self._show(mask(record.getMessage()))


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Append what happens to a file; an error that ends the search stands there, too."""
    handler = _File(path, encoding="utf-8", delay=True)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)-5s %(message)s"))
    with _listening(handler):
        try:
            yield
        except GreenNASError as error:
            LOGGER.error("%s", error)
            raise
        except Exception:
            LOGGER.exception("The search was ended by an error.")
            raise


@contextlib.contextmanager
def explained(show: Callable[[str], None]) -> Iterator[None]:
    """Hand every detail that is no progress message to ``show``."""
    with _listening(_Hook(show)):
        yield


@contextlib.contextmanager
def _listening(handler: logging.Handler) -> Iterator[None]:
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        handler.close()
