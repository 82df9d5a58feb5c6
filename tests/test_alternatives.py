"""The search through packages of other tools, in experiments/, on a package that is made here."""

from __future__ import annotations

import zipfile
from pathlib import Path

from modules import module_from

RUN = Path(__file__).parents[1] / "experiments" / "alternatives" / "run.py"


def test_files_are_counted_by_what_they_speak_of_and_tests_left_out(tmp_path: Path) -> None:
    study = module_from(RUN)
    with zipfile.ZipFile(tmp_path / "tool-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tool/front.py", "def pareto(): ...")
        archive.writestr("tool/more.py", "MultiObjective = 1")
        archive.writestr("tool/tests/test_energy.py", "joules = 1")
        archive.writestr("tool/README.md", "It reads /sys/class/powercap.")
    found = study.searched(tmp_path / "tool-1.0-py3-none-any.whl")
    assert found["several objectives"] == ["tool/front.py", "tool/more.py"]
    assert not any(files for row, files in found.items() if row != "several objectives")
    assert "| several objectives | 2: `tool/front.py` |" in study.table({"tool 1.0": found})
