"""The desk: a small process beside the driver through which workers on other nodes reach the run folder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from greennas.files import replacing
from greennas.training.rung import Rung


class Desk:
    """Reads and writes files of the driver's node. It remembers nothing, so Ray may start it again at any time.

    It runs as a Ray actor; its methods are coroutines, so that one that waits keeps nobody else from the desk.
    """

    async def read(self, path: str) -> bytes:
        """Content of a file."""
        return Path(path).read_bytes()

    async def write(self, path: str, content: bytes) -> None:
        """Write a file, whole or not at all; it is on the disk when this returns."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(content)

    async def answer(self, path: str) -> bool:
        """Wait for the driver's answer to a training that has reached a rung."""
        file = Path(path)
        while not file.is_file():
            await asyncio.sleep(0.05)
        return bool(json.loads(file.read_text()))


def answer_path(results: str | Path, task_id: str, rung: Rung) -> Path:
    """Where the driver answers a training at a rung."""
    budget = f"{rung.epochs:g}-{rung.resolution or 0}-{rung.data_share:g}"
    return Path(results) / "answers" / f"{task_id}-{budget}.json"
