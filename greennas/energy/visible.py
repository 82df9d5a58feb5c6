"""Which GPU is ``cuda:1``? CUDA's numbers follow the environment, NVML's do not: they meet at the UUID.

See "CUDA Environment Variables" in NVIDIA's CUDA C++ Programming Guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greennas.energy.nvml import Gpu, MigInstance
from greennas.errors import MeterError


@dataclass(frozen=True)
class Target:
    """The device that CUDA means by a number.

    Attributes:
        gpu: the GPU, which has the counters.
        mig: the instance of it that the process sees; None where multi-instance mode is off.
    """

    gpu: Gpu
    mig: MigInstance | None = None


def visible_targets(gpus: Sequence[Gpu], environ: Mapping[str, str]) -> list[Target] | None:
    """The devices that CUDA numbers 0, 1, ... in this environment.

    Args:
        gpus: all GPUs, ordered by PCI address.
        environ: the environment; ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER`` are looked at.

    Returns:
        The devices, or None where the order is only known to CUDA: it then puts the fastest GPU first.
    """
    ordered = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.name for gpu in gpus}) <= 1
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [_whole(gpu) for gpu in gpus] if ordered else None
    entries = [entry.strip() for entry in visible.split(",")]
    by_uuid = entries[0].startswith(("GPU-", "MIG-"))
    targets: list[Target] = []
    for entry in entries:
        target = _by_uuid(entry, gpus) if by_uuid else _by_index(entry, gpus)
        if target is None:
            break  # CUDA ignores an invalid entry and all after it
        if target in targets:
            return []  # and sees nothing at all where a device is named twice
        targets.append(target)
    return targets if by_uuid or ordered or not targets else None


def find_target(index: int, gpus: Sequence[Gpu], environ: Mapping[str, str], cuda_uuid: str | None = None) -> Target:
    """The device that CUDA numbers ``index``.

    Args:
        index: CUDA's number.
        gpus: all GPUs, ordered by PCI address.
        environ: the environment.
        cuda_uuid: UUID that CUDA itself gives for ``index``, where it was asked; it is believed over the environment.

    Raises:
        MeterError: CUDA does not see such a device, or GPUs of several models make the number ambiguous.
    """
    if cuda_uuid:
        for gpu in gpus:
            for target in (Target(gpu), *(Target(gpu, mig) for mig in gpu.mig)):
                uuid = target.mig.uuid if target.mig else gpu.uuid
                if _bare(uuid) == _bare(cuda_uuid):
                    return target if target.mig or not gpu.mig else _whole(gpu)
    targets = visible_targets(gpus, environ)
    if targets is None:
        raise MeterError(
            f"GPUs of several models make cuda:{index} ambiguous; set CUDA_DEVICE_ORDER=PCI_BUS_ID or give UUIDs "
            "in CUDA_VISIBLE_DEVICES."
        )
    if index >= len(targets):
        seen = environ.get("CUDA_VISIBLE_DEVICES")
        setting = "CUDA_VISIBLE_DEVICES is not set" if seen is None else f"CUDA_VISIBLE_DEVICES={seen!r}"
        raise MeterError(
            f"There is no cuda:{index}: {len(targets)} of {len(gpus)} GPUs are visible ({setting}); "
            "use another device or change the setting."
        )
    return targets[index]


def _whole(gpu: Gpu) -> Target:
    """What CUDA sees of a GPU named by its number: its first instance in multi-instance mode, else all of it."""
    return Target(gpu, gpu.mig[0] if gpu.mig else None)


def _by_index(entry: str, gpus: Sequence[Gpu]) -> Target | None:
    # As strtoul reads it: "1st" is 1.
    match = re.match(r"\+?(\d+)", entry)
    return _whole(gpus[int(match[1])]) if match and int(match[1]) < len(gpus) else None


def _by_uuid(entry: str, gpus: Sequence[Gpu]) -> Target | None:
    """The one device whose UUID begins with the entry."""
    # Drivers before 470 name instances MIG-GPU-<uuid of the GPU>/<gpu instance>/<compute instance>.
    if match := re.fullmatch(r"MIG-(GPU-[^/]+)/\d+/\d+", entry):
        parents = [gpu for gpu in gpus if gpu.uuid == match[1]]
        return Target(parents[0], MigInstance(entry, f"{parents[0].name} MIG")) if parents else None
    if entry.startswith("GPU-"):
        found = [_whole(gpu) for gpu in gpus if gpu.uuid.startswith(entry)]
    elif entry.startswith("MIG-"):
        found = [Target(gpu, mig) for gpu in gpus for mig in gpu.mig if mig.uuid.startswith(entry)]
    else:
        return None
    return found[0] if len(found) == 1 else None


def _bare(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-").lower()
