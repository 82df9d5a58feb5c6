"""The command line: thin; every command is also a function of the library."""

from greennas.cli.app import app, main

__all__ = ["app", "main"]
