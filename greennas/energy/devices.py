"""What this machine is, for the record that stands beside its figures."""

from __future__ import annotations

import os
import platform
from typing import Any

from greennas.energy.cpu_time import cpu_model
from greennas.energy.nvml import load_nvml
from greennas.machine import usable_cores


def describe_devices() -> dict[str, Any]:
    """CPU and GPUs of this machine, JSON-ready.

    Returns:
        ``cpu`` with model, cores and usable_cores; ``gpus``, for each its name, uuid, power_limit_w (None where it
        cannot be read) and mig (UUIDs of instances); ``driver``, the NVIDIA driver's version or None; ``platform``.
    """
    nvml, _ = load_nvml()
    gpus = nvml.gpus() if nvml else []
    return {
        "platform": platform.platform(),
        "cpu": {"model": cpu_model(), "cores": os.cpu_count(), "usable_cores": usable_cores()},
        "driver": (nvml.driver() or None) if nvml else None,
        "gpus": [
            {
                "name": gpu.name,
                "uuid": gpu.uuid,
                "power_limit_w": nvml.power_limit_w(gpu) if nvml else None,
                "mig": [instance.uuid for instance in gpu.mig],
            }
            for gpu in gpus
        ],
    }
