"""optuna-dashboard on the study of a run: on this machine alone, and to look at only."""

from __future__ import annotations

import socketserver
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from greennas.errors import ConfigError, bare_reason
from greennas.libraries import load_library, quiet
from greennas.run import RunFolder

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Dashboard:
    """A server of optuna-dashboard; it answers from ``serve`` until that is interrupted.

    Args:
        run: an existing run folder.
        port: where it listens; 0 takes any that is free.

    Raises:
        RunError: the search has not begun, or its study cannot be read.
        ConfigError: optuna-dashboard is missing, or the port is taken.
    """

    def __init__(self, run: RunFolder, port: int = 8080) -> None:
        library = load_library("optuna_dashboard", "dashboard", "greennas dashboard")
        study = run.read_study()
        application = looking_only(library.wsgi(study._storage))
        try:
            self._server = make_server(HOST, port, application, server_class=_Server, handler_class=_Handler)
        except OSError as error:
            raise ConfigError(
                f"Port {port} of this machine cannot be used ({bare_reason(error)}); give another --port."
            ) from error
        self.url = f"http://{HOST}:{self._server.server_port}/dashboard/studies/{study._study_id}"

    def serve(self) -> None:
        """Answer requests until Ctrl-C or ``close``."""
        with self._server, quiet():  # its statistics warn of few trials with each page
            self._server.serve_forever()

    def close(self) -> None:
        """End ``serve`` in another thread."""
        self._server.shutdown()


def looking_only(application: _Application) -> _Application:
    """An application that refuses what would change the study, whose one writer is the search.

    It refuses other names of this machine, too: a page elsewhere could read the study under a name that it had
    pointed here.
    """

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = str(environ.get("HTTP_HOST", "")).rpartition(":")[0] or str(environ.get("HTTP_HOST", ""))
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            reason = b'{"reason": "This dashboard is to look at only: the search alone writes its study."}'
        elif name not in _NAMES:
            reason = b'{"reason": "This dashboard answers to 127.0.0.1 and localhost only."}'
        else:
            return application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [reason]

    return guarded


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""
