"""A ``python`` that has imported everything already: each call of it is a fork, which saves seconds of imports.

``python warm.py SOCKET`` serves; ``client`` is the program that takes the place of ``python`` on the ``PATH``, or of a
script such as ``greennas``.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

CLIENT = """\
#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = {{"arguments": {script!r} + sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(call).encode()], [0, 1, 2])
    server.shutdown(socket.SHUT_WR)
    sys.exit((server.recv(1) or b"\\xff")[0])
"""


def client(address: Path, *script: Path) -> str:
    """The text of a program that hands its arguments, folder, environment, input and outputs over."""
    return CLIENT.format(python=sys.executable, address=str(address), script=list(map(str, script)))


def serve(address: str) -> None:
    """Wait for calls, and answer each in a process of its own."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    call, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while more := connection.recv(1 << 20):
        call += more
    if worker := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        connection.sendall(bytes([code if code >= 0 else 128 - code]))
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    become(**json.loads(call))


def become(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what ``python`` does when it is called so: with ``-c``, with ``-m``, or with a file."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if arguments[0] == "-c":
        sys.argv[:], sys.path[:0] = ["-c", *arguments[2:]], [""]
        main = sys.modules["__main__"] = type(sys)("__main__")
        exec(arguments[1], main.__dict__)
    elif arguments[0] == "-m":
        sys.argv[:], sys.path[:0] = arguments[1:], [folder]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:], sys.path[:0] = arguments, [str(Path(arguments[0]).resolve().parent)]
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, which nobody else would see
    import optuna  # noqa: F401
    import plotly.graph_objects  # noqa: F401
    import sklearn.gaussian_process  # noqa: F401
    import torch  # noqa: F401

    gc.freeze()  # what is imported is not looked through again at the end of each call
    serve(sys.argv[1])
