"""The pages of the documentation, the examples on them, and how these are run: as they stand, in a folder of their own.

A test of a page bears its name and says what the page takes for granted, and what is made smaller for it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
HEADING_OR_BLOCK = re.compile(
    r"^(?:#+ (?P<heading>[^\n]+)|```(?P<language>\w+)\n(?P<text>.*?)^```)$", re.MULTILINE | re.DOTALL
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INSTALLATION = re.compile(r"^(?:python3\.11 -m venv|(?:\.venv/bin/)?pip install|git clone) .*\n", re.MULTILINE)
"""Lines that need the network. README's, with which all begins, are run by ``.ci/run``."""
NAMED = re.compile(r"# (\w+\.(?:py|yaml))\n")
SCRIPTS = ("benchmarks", "experiments", "docs")
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
EC_NAS = Path(os.environ.get("GREENNAS_TEST_DATA", ROOT.parent / "shared" / "data" / "ec-nas"))
needs_fashion_mnist = pytest.mark.skipif(
    not FASHION_MNIST.is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
needs_ec_nas = pytest.mark.skipif(
    not (EC_NAS / "published_runs.csv.gz").is_file(), reason="needs EC-NAS's data (GREENNAS_TEST_DATA)"
)


class Example(NamedTuple):
    """A block of code below a heading."""

    section: str
    language: str
    text: str

    @property
    def runs(self) -> bool:
        """Whether something is left to run once all is installed."""
        return self.language == "python" or (self.language == "bash" and bool(INSTALLATION.sub("", self.text).strip()))


def examples(name: str) -> list[Example]:
    """All blocks of a page, in order."""
    section, found = "", []
    for match in HEADING_OR_BLOCK.finditer(PAGES[name].read_text()):
        section = match["heading"] or section
        if match["language"]:
            found.append(Example(section, match["language"], match["text"]))
    return found


def changed(texts: list[str], changes: Iterable[tuple[str, str]]) -> list[str]:
    """Texts with what is replaced in them; what is no longer in any of them is an error, lest the list rots."""
    for old, new in changes:
        assert any(old in text for text in texts), f"{old!r} is no longer on the page"
        texts = [text.replace(old, new) for text in texts]
    return texts


class Page:
    """The examples of a page and the folder that they are run in.

    Args:
        name: of the page, without its ending.
        folder: where a reader would stand.
        programs: a folder that goes before all others on the ``PATH``.
    """

    def __init__(self, name: str, folder: Path, *programs: Path) -> None:
        self.examples = examples(name)
        self.folder = folder
        path = os.pathsep.join([*map(str, programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "GREENNAS_HOME": str(folder / "home")}
        for scripts in SCRIPTS:  # a copy, since some write beside themselves
            if any(f"python {scripts}/" in example.text for example in self.examples):
                shutil.copytree(ROOT / scripts, folder / scripts)

    def run(
        self,
        *changes: tuple[str, str],
        only: str | None = None,
        but: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run the examples one after the other; each has to succeed and to print something.

        A block that begins with the name of a file is written there. Blocks in other languages are there to be read.

        Args:
            changes: what is replaced by what before; each has to be on the page.
            only: the heading of the examples that are run; None: all of the page.
            but: the heading of those that are left to another test.
            environment: further variables.
        """
        chosen = [each for each in self.examples if only in (None, each.section) and each.section != but]
        assert any(example.runs for example in chosen)
        for example, text in zip(chosen, changed([example.text for example in chosen], changes), strict=True):
            if named := NAMED.match(text):
                (self.folder / named[1]).write_text(text)
            elif example.runs:
                self.execute(example.language, text, environment)

    def execute(self, language: str, text: str, environment: Mapping[str, str] | None = None) -> None:
        """Run a piece of Python or of the shell in the page's folder, without what needs the network."""
        script = f"exec python -c {shlex.quote(text)}" if language == "python" else INSTALLATION.sub("", text)
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert done.stdout, f"{text}\nprinted nothing"
