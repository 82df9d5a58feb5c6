"""What a process may use, and what processes use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from greennas.machine import resident_bytes, usable_cores, usable_memory_bytes


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "1000000\n", 1_000_000),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "2000000\n", 2_000_000),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("none", "", None),
    ],
)
def test_a_container_may_have_less_memory_than_the_machine(
    tmp_path: Path, file: str, text: str, limit: int | None
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert usable_memory_bytes(tmp_path) == (machine if limit is None else limit)
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_resident_memory_is_what_was_written_to() -> None:
    before = resident_bytes(os.getpid())
    assert before is not None
    held = bytearray(b"x") * 2**26
    after = resident_bytes(os.getpid())
    assert after is not None
    assert 0.9 * 2**26 < after - before < 1.5 * len(held)
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert resident_bytes(ended.pid) is None
