"""A commented search space to begin with: a file that runs as it is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from greennas.errors import SpaceError, bare_reason
from greennas.files import write_text


def write_template(path: str | Path) -> Path:
    """Write the template of a search space to a new file ``path``, and return it.

    Raises:
        SpaceError: a name that does not end in .py, a file that is there already, or a folder that is not.
    """
    path = Path(path).expanduser()
    if path.suffix != ".py":
        raise SpaceError(f"A search space is a Python file, but {path} does not end in .py; choose another name.")
    if path.exists():
        raise SpaceError(f"{path} is there already and stays as it is; choose another name.")
    try:
        write_text(path, files("greennas").joinpath("space_template.py.txt").read_text(encoding="utf-8"))
    except OSError as error:
        raise SpaceError(f"{path} cannot be written ({bare_reason(error)}); check its folder.") from error
    return path
