"""Executors only execute: they run evaluation tasks somewhere and report what happened."""

from greennas.executors.base import Event, Executor, Finished, RungReached
from greennas.executors.local import LocalExecutor

__all__ = ["Event", "Executor", "Finished", "LocalExecutor", "RungReached"]
