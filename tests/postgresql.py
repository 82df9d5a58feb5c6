"""A real PostgreSQL server on loopback, where it is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "s3cr:t@/word"
QUOTED = "s3cr%3At%40%2Fword"


def command(name: str) -> str | None:
    """A program of PostgreSQL's, also where Debian keeps it."""
    found = sorted(str(path) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (found[-1] if found else None)


class Server:
    """A PostgreSQL server of this test's own, with a password."""

    def __init__(self, folder: Path) -> None:
        # PostgreSQL refuses to run as root.
        self._user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "password").write_text(PASSWORD)
        if self._user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "nobody", "nogroup")
        self._run("initdb", "-D", "data", "-U", "team", "-A", "scram-sha-256", "--pwfile=password", "--no-sync")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def url(self, password: str | None = QUOTED) -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://team{secret}@127.0.0.1:{self.port}/postgres"

    def _run(self, name: str, *arguments: str) -> None:
        # Its output goes to a file: the server inherits it, and a pipe would be waited for.
        program = command(name)
        assert program is not None
        with (self._folder / "out").open("a") as out:
            done = subprocess.run(
                [*self._user, program, *arguments], cwd=self._folder, stdout=out, stderr=out, timeout=60, check=False
            )
        assert done.returncode == 0, (self._folder / "out").read_text()


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server for as long as it is needed; a test is skipped where there cannot be one."""
    pytest.importorskip("psycopg", reason="the extra postgresql is not installed")
    if command("initdb") is None or command("pg_ctl") is None:
        pytest.skip("there is no PostgreSQL server here (initdb and pg_ctl)")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to run it as somebody else")
    folder = Path(tempfile.mkdtemp(prefix="greennas-postgres-", dir="/tmp"))
    try:
        found = Server(folder)
        found.start()
        yield found
        with contextlib.suppress(AssertionError):
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
