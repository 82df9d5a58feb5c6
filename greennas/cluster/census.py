"""Which devices a node has, told by a process on it."""

from __future__ import annotations

from typing import Any

from greennas.energy import describe_devices, open_meter


def describe_node() -> dict[str, Any]:
    """Processor and GPUs of this node, as ``describe_devices`` gives them."""
    return describe_devices()


def device_name(device: str) -> str:
    """Name of the device whose energy trainings on ``device`` are compared by, without touching the GPU."""
    meter = open_meter(device)
    try:
        names = {source.component: source.device for source in meter.describe()}
    finally:
        meter.close()
    return names.get("gpu") or names["cpu"]
