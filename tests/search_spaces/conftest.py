"""The published tables where they are at hand."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def ec_nas_files(ec_nas: Path) -> dict[str, Any]:
    """Every JSON file of the 4-epoch archive, by its path."""
    with tarfile.open(ec_nas / "nasbench-data-4epochs.tar.gz") as archive:
        return {
            member.name: json.load(content)
            for member in archive
            if member.name.endswith(".json") and (content := archive.extractfile(member)) is not None
        }
