from __future__ import annotations

from pathlib import Path

import pytest
from table_files import nasbench201_rows, write_csv


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the whole space, and one of a few of its cells."""
    folder = tmp_path_factory.mktemp("tables")
    rows = nasbench201_rows()
    write_csv(folder / "few.csv", rows[-40:])
    return write_csv(folder / "t.csv", [{**row, "energy_kwh": 1.0} for row in rows])
