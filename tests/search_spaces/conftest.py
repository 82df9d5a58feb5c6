"""Samples of a space by Optuna, and the published tables where they are at hand."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from greennas.space import SearchSpace


def samples(space: SearchSpace, count: int) -> Iterator[dict[str, Any]]:
    """Parameters of ``count`` random architectures; Optuna refuses a name whose choices change."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        trial = study.ask()
        yield space.sample(trial)
        study.tell(trial, 0.0)


@pytest.fixture(scope="session")
def ec_nas() -> Path:
    """Folder of the EC-NAS data."""
    folder = Path(os.environ.get("GREENNAS_TEST_DATA", Path(__file__).parents[3] / "shared/data/ec-nas"))
    if not (folder / "nasbench-data-4epochs.tar.gz").is_file():
        pytest.skip(f"no EC-NAS data in {folder}; set GREENNAS_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def ec_nas_files(ec_nas: Path) -> dict[str, Any]:
    """Every JSON file of the 4-epoch archive, by its path."""
    with tarfile.open(ec_nas / "nasbench-data-4epochs.tar.gz") as archive:
        return {
            member.name: json.load(content)
            for member in archive
            if member.name.endswith(".json") and (content := archive.extractfile(member)) is not None
        }
