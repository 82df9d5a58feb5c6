"""The engine as a cluster's nodes get it: the packages that the driver runs, with the names of their spaces."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from greennas.space import ENTRY_POINT_GROUP


def engine_folders() -> list[str]:
    """Folders for Ray's ``py_modules``: the engine, every installed space's package, and the metadata that names them.

    A node needs the libraries that these import, but not GreenNAS: what runs there is what runs here.
    """
    packages = {"greennas"}
    metadata = set()
    for distribution in importlib.metadata.distributions():
        points = [point for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP]
        if points:
            packages |= {point.module.partition(".")[0] for point in points}
            metadata.add(str(distribution.locate_file(_metadata_folder(distribution))))
    return [*_folders(sorted(packages)), *sorted(metadata)]


def _metadata_folder(distribution: importlib.metadata.Distribution) -> str:
    files = distribution.files or []
    return next(str(file.parent) for file in files if file.name == "entry_points.txt")


def _folders(packages: Iterable[str]) -> list[str]:
    found = []
    for package in packages:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found.append(str(Path(folder)))
    return found
