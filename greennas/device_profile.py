"""Profile of a device: measured networks from which the energy of any other is predicted, in JSON and npz files.

Nothing in them is executed when they are read (``allow_pickle=False``), and a checksum ties the two together.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from greennas.energy import Kind
from greennas.energy.cpu_time import cpu_model
from greennas.errors import GreenNASError, InvalidArchitectureError, bare_reason
from greennas.files import replacing, write_text
from greennas.predictors import EnergyPredictor
from greennas.predictors.physics import PRIOR_PRICES
from greennas.profile import CostProfile

FORMAT = "greennas-device-2"
QUANTITIES: tuple[str, ...] = (
    "train_energy_j",
    "train_seconds",
    "inference_energy_j_per_1k",
    "inference_seconds_per_1k",
)
"""What a device profile holds of each network: joules and seconds of a training image and of 1,000 inferences."""
SECONDS_OF: Mapping[str, str] = {
    "train_energy_j": "train_seconds",
    "inference_energy_j_per_1k": "inference_seconds_per_1k",
}
"""Energies to the times of the same measurements."""


class DeviceProfileError(GreenNASError):
    """A device profile is missing, damaged or of another device."""


@dataclass(frozen=True, eq=False)
class DeviceProfile:
    """What was measured on a device.

    Attributes:
        device: its name.
        kind: kind of the joules.
        networks: cost profiles of the measured networks, n.
        measured: ``QUANTITIES`` to figures, each (n,).
        about: when, with which versions and how well held-out networks are predicted; JSON values.
        device_type: ``cuda`` or ``cpu``.
    """

    device: str
    kind: Kind
    networks: tuple[CostProfile, ...]
    measured: Mapping[str, NDArray[np.float64]]
    about: Mapping[str, Any] = field(default_factory=dict)
    device_type: str = "cuda"

    @cached_property
    def predictors(self) -> Mapping[str, EnergyPredictor]:
        """A fitted predictor of each of ``QUANTITIES``."""
        found = {}
        for name in QUANTITIES:
            seconds = self.measured[SECONDS_OF[name]] if name in SECONDS_OF else None
            predictor = EnergyPredictor(device_type=self.device_type)
            found[name] = predictor.fit(self.networks, self.measured[name], seconds=seconds)
        return found

    def save(self, path: Path) -> None:
        """Write ``path`` (.json) and its neighbour ``.npz``, each whole or not at all.

        Raises:
            DeviceProfileError: the folder cannot be written to.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(_arrays(path)) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **self.measured)  # type: ignore[arg-type]
            content = {
                "format": FORMAT,
                "device": self.device,
                "device_type": self.device_type,
                "kind": str(self.kind),
                "about": dict(self.about),
                "sha256": _checksum(_arrays(path)),
                "networks": [network.to_json() for network in self.networks],
            }
            write_text(path, json.dumps(content, indent=1))
        except OSError as error:
            raise DeviceProfileError(
                f"The device profile cannot be written to {path} ({bare_reason(error)}); "
                "choose another place with --out."
            ) from error

    @classmethod
    def load(cls, path: Path, device: str | None = None) -> DeviceProfile:
        """Read what ``save`` wrote.

        Args:
            path: the .json file.
            device: refuse a profile of any other device; None takes any.

        Raises:
            DeviceProfileError: one of the files is missing, damaged or does not belong to the other, or the profile
                is of another device.
        """
        if not path.is_file():
            raise DeviceProfileError(f"There is no device profile {path}; make one with 'greennas calibrate'.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {FORMAT}")
            if content["sha256"] != _checksum(_arrays(path)):
                raise ValueError(f"{_arrays(path).name} does not belong to it")
            with np.load(_arrays(path), allow_pickle=False) as arrays:
                measured = {name: np.asarray(arrays[name], dtype=np.float64) for name in QUANTITIES}
            networks = tuple(CostProfile.from_json(each) for each in content["networks"])
            if not networks or any(values.shape != (len(networks),) for values in measured.values()):
                raise ValueError("it has not one figure for each network")
            if any(not (np.isfinite(values) & (values > 0)).all() for values in measured.values()):
                raise ValueError("it has figures that are no measurements")
            device_type = content["device_type"]
            if device_type not in PRIOR_PRICES:
                raise ValueError(f"its device is a {device_type!r}, neither of {', '.join(PRIOR_PRICES)}")
            found = cls(content["device"], Kind(content["kind"]), networks, measured, content["about"], device_type)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, InvalidArchitectureError) as error:
            raise DeviceProfileError(
                f"The device profile {path} is damaged or none ({bare_reason(error)}); make it again with "
                "'greennas calibrate'."
            ) from error
        if device is not None and found.device != device:
            raise DeviceProfileError(
                f"The device profile {path} is of {found.device!r} and this device is {device!r}, so that its joules "
                "do not hold here; run 'greennas calibrate'."
            )
        return found


def device_name(device: torch.device | str) -> str:
    """Name of a device as profiles are called by: the CPU's model or the GPU's product name."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else cpu_model()


def default_device() -> str:
    """The device that networks are trained on here, as torch names it."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def default_path(device: str) -> Path:
    """Where the profile of the device of this name is kept: under ``GREENNAS_HOME``, else in the user's data folder."""
    home = os.environ.get("GREENNAS_HOME")
    if home:
        base = Path(home).expanduser()
    else:  # XDG base directory specification: relative paths do not count
        data = Path(os.environ.get("XDG_DATA_HOME", ""))
        base = (data if data.is_absolute() else Path.home() / ".local" / "share") / "greennas"
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "device"
    return base / "devices" / f"{name}.json"


def find(device: torch.device | str) -> DeviceProfile | None:
    """The saved profile of a device of this machine; None where it was never calibrated.

    Raises:
        DeviceProfileError: there is one and it is damaged or of another device.
    """
    return find_by_name(device_name(device))


def find_by_name(name: str) -> DeviceProfile | None:
    """The same for the name of any device.

    Raises:
        DeviceProfileError: as for ``find``.
    """
    path = default_path(name)
    return DeviceProfile.load(path, name) if path.is_file() else None


def rows(profiles: Sequence[CostProfile]) -> NDArray[np.float64]:
    """Logarithms of the cost features, (n, d): distances between them are relative differences of costs."""
    return np.log1p(np.stack([profile.features() for profile in profiles]))


def _arrays(path: Path) -> Path:
    return path.with_suffix(".npz")


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
