from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennas.energy.nvml import Gpu, MigInstance
from greennas.energy.visible import find_target, visible_targets
from greennas.errors import MeterError

A = Gpu(0, "A100", "GPU-aa11-1", "0000:01:00.0", object())
B = Gpu(1, "A100", "GPU-aa22-2", "0000:02:00.0", object())
C = Gpu(2, "A100", "GPU-bb33-3", "0000:03:00.0", object())
M = Gpu(3, "A100", "GPU-cc44-4", "0000:04:00.0", object(), (MigInstance("MIG-m1", "1g"), MigInstance("MIG-m2", "1g")))
T4 = Gpu(1, "T4", "GPU-dd55-5", "0000:02:00.0", object())
GPUS = [A, B, C]


def uuids(setting: str | None, gpus: list[Gpu] = GPUS, **environ: str) -> list[str] | None:
    if setting is not None:
        environ["CUDA_VISIBLE_DEVICES"] = setting
    targets = visible_targets(gpus, environ)
    return None if targets is None else [target.mig.uuid if target.mig else target.gpu.uuid for target in targets]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, ["GPU-aa11-1", "GPU-aa22-2", "GPU-bb33-3"]),
        ("2,0", ["GPU-bb33-3", "GPU-aa11-1"]),
        (" 1 , 2 ", ["GPU-aa22-2", "GPU-bb33-3"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["GPU-aa11-1"]),
        ("0,9,1", ["GPU-aa11-1"]),
        ("0,0", []),
        ("1st", ["GPU-aa22-2"]),
        ("none", []),
        ("GPU-bb33-3,GPU-aa11-1", ["GPU-bb33-3", "GPU-aa11-1"]),
        ("GPU-bb", ["GPU-bb33-3"]),
        ("GPU-aa", []),  # two begin so
        ("GPU-zz,GPU-bb", []),
        ("GPU-bb,1", ["GPU-bb33-3"]),
    ],
)
def test_cuda_visible_devices(setting: str | None, expected: list[str]) -> None:
    assert uuids(setting) == expected


def test_instances_are_seen_by_uuid_and_by_their_gpu() -> None:
    gpus = [A, M]
    assert uuids("MIG-m2", gpus) == ["MIG-m2"]
    assert uuids("1", gpus) == ["MIG-m1"]  # CUDA sees the first instance of a GPU named by its number
    assert uuids("MIG-GPU-cc44-4/7/0", gpus) == ["MIG-GPU-cc44-4/7/0"]
    target = find_target(0, gpus, {"CUDA_VISIBLE_DEVICES": "MIG-m2"})
    assert target.gpu is M


def test_mixed_models_need_pci_order_or_uuids_or_cuda_itself() -> None:
    mixed = [A, T4]
    assert uuids(None, mixed) is None
    assert uuids("0", mixed) is None
    assert uuids("", mixed) == []
    assert uuids("GPU-dd", mixed) == ["GPU-dd55-5"]
    assert uuids("1", mixed, CUDA_DEVICE_ORDER="PCI_BUS_ID") == ["GPU-dd55-5"]
    with pytest.raises(MeterError, match="PCI_BUS_ID"):
        find_target(0, mixed, {})
    assert find_target(0, mixed, {}, cuda_uuid="dd55-5").gpu is T4


def test_cuda_is_believed_over_the_environment() -> None:
    assert find_target(0, GPUS, {"CUDA_VISIBLE_DEVICES": "0"}, cuda_uuid="bb33-3").gpu is C
    target = find_target(0, [A, M], {}, cuda_uuid="MIG-m2")
    assert target.mig
    assert target.mig.uuid == "MIG-m2"


@pytest.mark.parametrize("setting", ["", "-1", "0"])
def test_invisible_device_is_an_error(setting: str) -> None:
    with pytest.raises(MeterError, match=r"There is no cuda:1: \d of 3 GPUs are visible"):
        find_target(1, GPUS, {"CUDA_VISIBLE_DEVICES": setting})


@given(st.permutations(range(3)), st.integers(1, 3))
def test_numbers_and_uuids_name_the_same_devices(order: list[int], count: int) -> None:
    chosen = order[:count]
    by_number = uuids(",".join(map(str, chosen)))
    assert by_number == uuids(",".join(GPUS[i].uuid for i in chosen)) == [GPUS[i].uuid for i in chosen]
