"""One root error; every message says what is wrong and what to do about it."""

from __future__ import annotations


class GreenNASError(Exception):
    """Root of all errors that a user can mend; the command line shows its message and exits with code 2."""


class ConfigError(GreenNASError):
    """A setting is unknown, malformed or contradicts another one."""


class ExhaustedError(ConfigError):
    """Nothing new is left to propose: a search ends with what it has."""


class SpaceError(GreenNASError):
    """A search space cannot be found or loaded, or breaks the protocol."""


class InvalidArchitectureError(SpaceError):
    """Parameters that do not describe a network of the space."""


class DataError(GreenNASError):
    """A data set cannot be found or read, or does not fit the search."""


class MeterError(GreenNASError):
    """An energy counter was asked for that this machine does not have."""


class RunError(GreenNASError):
    """A run folder is missing, occupied, damaged or in use."""


class ExportError(GreenNASError):
    """A network cannot be written in a format, or what was written is not the same network."""


class TrainingError(GreenNASError):
    """One candidate failed (loss not finite, out of memory, dead network); the search goes on."""


def bare_reason(error: Exception) -> str:
    """What an error says, without the number and the path that the operating system's errors carry."""
    return getattr(error, "strerror", None) or str(error)
