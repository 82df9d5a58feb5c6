"""What this process may use of the machine, and what processes use of it."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Of cgroups version 2 and 1, below /sys/fs/cgroup as a container sees it."""


def usable_cores() -> int:
    """Number of cores that this process may use (its affinity), not those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory of the machine, or of the container where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUP_LIMITS:
        try:
            return min(machine, int((cgroup / name).read_text()))
        except (OSError, ValueError):
            continue  # no such version, or "max": no limit
    return machine


def resident_bytes(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Memory that a process has to itself (RssAnon and RssShmem of ``man 5 proc_pid_status``); None once it is gone.

    Pages of files, such as libraries and safetensors, are not counted: the kernel drops them when memory is short.
    """
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return 1024 * sum(found) if found else None
