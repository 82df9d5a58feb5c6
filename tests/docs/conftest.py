from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from pages import Page


@pytest.fixture(scope="session")
def warm_greennas() -> Iterator[Path]:
    """A folder for the ``PATH`` with a ``greennas`` that starts at once."""
    with tempfile.TemporaryDirectory(prefix="greennas-") as name:  # an address of a socket has to be short
        folder = Path(name)
        program = folder / "greennas"
        program.write_text(warm.client(folder / "socket"))
        program.chmod(0o755)
        command = [sys.executable, warm.__file__, str(folder / "socket")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield folder
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path, warm_greennas: Path) -> Page:
    """The page of which the test bears the name, to be run in a folder of its own."""
    return Page(request.function.__name__.removeprefix("test_"), tmp_path, warm_greennas)
