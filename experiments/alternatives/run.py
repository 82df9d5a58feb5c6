"""What the published packages of other tools speak of: the evidence for the table "Beside other tools" in README.md.

    python experiments/alternatives/run.py [--wheels DIR]

Downloads one version of each package from PyPI (65 MB; nothing is installed or run), searches its Python files for the
words of each row, and prints how many files have them, with the first one. A word is no feature: who doubts a row reads
the file.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

PACKAGES = ("nni==3.0", "archai==1.0.0", "syne-tune==0.16.0", "neural-pipeline-search==0.17.0", "optuna==5.0.0")
ROWS = {
    "several objectives": r"multi[-_ ]?objective|pareto",
    "energy counters": r"nvmlDeviceGet(TotalEnergy|PowerUsage)|intel-rapl|powercap|pyrapl|codecarbon|carbontracker",
    "predicted training energy": r"train\w*_energy|energy_(predict|model|cost)|predict\w*_(energy|power)",
    "joules of the search": r"\b(joules?|kwh|kilowatt)\b",
    "spaces of networks": r"class \w*(nasbench|mobilenet|resnet)\w*\(",
    "weight sharing": r"one[-_ ]?shot|supernet|class darts",
}
"""What is searched for, without regard to case."""

_TEST = re.compile(r"(^|/)tests?[/_]")
Found = Mapping[str, list[str]]


def searched(wheel: Path) -> Found:
    """The Python files of a wheel that have the words of each row, tests left out."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".py") and not _TEST.search(name))
        texts = {name: archive.read(name).decode("utf-8", "replace") for name in names}
    return {row: [name for name in names if re.search(words, texts[name], re.I)] for row, words in ROWS.items()}


def table(found: Mapping[str, Found]) -> str:
    """Files by row and package, with the first of them, in Markdown."""
    lines = [["files that speak of", *found], ["---"] * (1 + len(found))]
    for row in ROWS:
        lines.append(
            [row, *(f"{len(files[row])}: `{files[row][0]}`" if files[row] else "-" for files in found.values())]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="a folder with the wheels, in place of downloading them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.wheels or Path(temporary)
        if given.wheels is None:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*pip, "--dest", str(folder), *PACKAGES], check=True)
        wheels = {" ".join(wheel.name.split("-")[:2]): wheel for wheel in sorted(folder.glob("*.whl"))}
        print(table({name: searched(wheel) for name, wheel in wheels.items()}))


if __name__ == "__main__":
    main()
