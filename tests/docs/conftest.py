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
def programs() -> Iterator[Path]:
    """A folder for the ``PATH`` with a ``python`` and a ``greennas`` that start at once."""
    with tempfile.TemporaryDirectory(prefix="greennas-") as name:  # the address of a socket has to be short
        folder = Path(name)
        address = folder / "socket"
        script = Path(sys.executable).with_name("greennas")
        for program, text in (("python", warm.client(address)), ("greennas", warm.client(address, script))):
            (folder / program).write_text(text)
            (folder / program).chmod(0o755)
        command = [sys.executable, warm.__file__, str(address)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield folder
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path, programs: Path) -> Page:
    """The page of which the test bears the name, up to two underscores, to be run in a folder of its own."""
    name = request.function.__name__.removeprefix("test_").partition("__")[0]
    return Page(name, tmp_path, programs)
