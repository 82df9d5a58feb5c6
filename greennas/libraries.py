"""Optional libraries: loaded when they are used, with one clear sentence where they are missing."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from greennas.errors import ConfigError


def load_library(module: str, extra: str, purpose: str) -> Any:
    """A module of an optional library.

    Args:
        module: its dotted name.
        extra: extra of GreenNAS that brings it.
        purpose: what needs it, as the beginning of a sentence.

    Raises:
        ConfigError: it is not installed, or cannot be loaded.
    """
    try:
        with quiet():
            return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        found = f" ({error})" if getattr(error, "name", None) not in (library, module) else ""
        raise ConfigError(
            f"{purpose} needs the library {library}{found}; install it with: pip install 'greennas[{extra}]'."
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries warn of while they load, convert or compile from a table that is being printed."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
