"""Where inference was measured and what did not run there, as it stands beside the figures."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from greennas.energy import describe_devices
from greennas.errors import ConfigError


def check_device(device: str) -> None:
    """Raise a ``ConfigError`` where torch cannot compute on ``device``."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(f"torch cannot use the device {device!r} here ({first}); take cpu, or mend that.") from error


def environment(device: str, libraries: Iterable[str] = ()) -> dict[str, Any]:
    """Device, threads and versions that figures belong to, JSON-ready; of ``libraries`` those that are installed."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for library in libraries:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    found = describe_devices()
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else found["cpu"]["model"]
    return {
        "device": device,
        "device_name": name,
        "usable_cores": found["cpu"]["usable_cores"],
        "threads": torch.get_num_threads(),
        "versions": versions,
    }


def place(environment: Mapping[str, Any]) -> str:
    """The device and its threads, in words."""
    threads = environment["threads"]
    return f"{environment['device_name']} ({environment['device']}, {threads} thread{'s' if threads != 1 else ''})"


def did_not_run(unavailable: Sequence[tuple[str, str]]) -> list[str]:
    """A sentence for each reason why something did not run, with all that it is the reason of."""
    by_reason: dict[str, list[str]] = {}
    for what, reason in unavailable:
        by_reason.setdefault(reason, []).append(what)
    return [f"Did not run: {'; '.join(names)}: {reason}" for reason, names in by_reason.items()]
