"""What a network would cost on a calibrated device: predicted joules and seconds with intervals, or none at all."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from greennas.architecture import Architecture
from greennas.device_profile import DeviceProfile, default_device
from greennas.errors import ConfigError, InvalidArchitectureError, bare_reason
from greennas.predictors.physics import PRIOR_PRICES, physical_score, physical_terms
from greennas.profile import CostProfile
from greennas.space import InputShape, SearchSpace, load_space

PER_EPOCH = ("train_energy_j", "train_seconds")


@dataclass(frozen=True)
class Estimate:
    """A predicted figure with its 90% interval."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """JSON-ready dictionary."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Forecast:
    """What one network costs.

    Attributes:
        profile: its costs on paper.
        score: training of one image in equivalents of a 3x3-convolution FLOP: ranks networks, says no joules.
        images: images of an epoch.
        device: name of the calibrated device; None without a device profile.
        kind: kind of the joules that were measured there.
        measured: number of networks that the device profile holds.
        predicted: empty without a device profile; else ``train_energy_j`` and ``train_seconds`` of an epoch,
            ``inference_energy_j_per_1k`` and ``inference_seconds_per_1k``.
        outside: the network's costs lie outside of those of the measured ones.
    """

    profile: CostProfile
    score: float
    images: int
    device: str | None
    kind: str | None
    measured: int
    predicted: Mapping[str, Estimate]
    outside: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return {
            "device": self.device,
            "kind_of_measured_joules": self.kind,
            "networks_measured": self.measured,
            "images_per_epoch": self.images,
            "predicted": {name: estimate.to_json() for name, estimate in self.predicted.items()} or None,
            "outside": self.outside,
            "physical_score": self.score,
            "profile": self.profile.to_json() | {"total_flops": self.profile.total_flops},
        }


def physical_scores(costs: Sequence[CostProfile], device: DeviceProfile | None) -> list[float]:
    """What ranks networks by training energy where nothing is measured: by the built-in prices of such devices."""
    device_type = torch.device(default_device()).type if device is None else device.device_type
    return [float(score) for score in physical_score(physical_terms(costs), PRIOR_PRICES[device_type])]


def forecast(cost: CostProfile, device: DeviceProfile | None, images: int) -> Forecast:
    """Predict training for an epoch of ``images`` images and inference from a device profile, if there is one."""
    score = physical_scores([cost], device)[0]
    if device is None:
        return Forecast(cost, score, images, None, None, 0, {}, True)
    predicted: dict[str, Estimate] = {}
    outside = False
    for name, predictor in device.predictors.items():
        found = predictor.predict([cost])
        factor = images if name in PER_EPOCH else 1
        mean, low, high = (factor * float(values[0]) for values in (found.mean_j, found.low_j, found.high_j))
        predicted[name] = Estimate(mean, low, high)
        outside = outside or bool(found.outside[0])
    return Forecast(cost, score, images, device.device, str(device.kind), len(device.networks), predicted, outside)


def read_architecture(
    file: Path, space: str | None = None, options: Mapping[str, Any] | None = None
) -> tuple[SearchSpace, Mapping[str, Any]]:
    """The space and the parameters of an architecture's JSON: as exported, as in ``front.json``, or bare parameters.

    Args:
        file: the JSON.
        space: its search space, where the file does not say it.
        options: options of the space, beyond the file's.

    Raises:
        GreenNASError: no such file, no architecture, or of another space.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArchitectureError(
            f"The architecture {file} cannot be read ({bare_reason(error)}); give a JSON file with its parameters."
        ) from error
    data = data.get("architecture", data) if isinstance(data, dict) else data
    if not isinstance(data, dict):
        raise InvalidArchitectureError(f"The architecture {file} holds no parameters by name; give a JSON object.")
    if "params" not in data:
        if space is None:
            raise ConfigError(f"{file} does not say its search space; give it with --space.")
        return load_space(space, **(options or {})), data
    found = Architecture.from_json({"canonical": "", **data})
    if space is not None and space != found.space:
        raise ConfigError(f"{file} is of the search space {found.space} and --space says {space}; leave --space out.")
    return load_space(found.space, **{**found.options, **(options or {})}), found.params


def load_model(reference: str) -> nn.Module:
    """The network that ``module:function`` makes; the function takes no arguments.

    Raises:
        ConfigError: there is no such function, or it makes no network.
    """
    name, sign, attribute = reference.rpartition(":")
    if not sign or not name or not attribute:
        raise ConfigError(f"{reference!r} is not module:function; write for example --model my_models:tiny_net.")
    try:
        if (here := str(Path.cwd())) not in sys.path:  # as 'python -m' does
            sys.path.insert(0, here)
        made = getattr(importlib.import_module(name), attribute)
        network = made if isinstance(made, nn.Module) else made()
    except Exception as error:
        raise ConfigError(
            f"The network {reference} cannot be made ({type(error).__name__}: {error}); "
            "give a function without arguments that returns a torch module."
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{reference} makes a {type(network).__name__}; give a function that returns a torch module.")
    return network


def profile_architecture(
    space: SearchSpace, params: Mapping[str, Any], input_shape: tuple[int, ...], classes: int, batch_size: int
) -> CostProfile:
    """Cost profile of an architecture.

    Raises:
        InvalidArchitectureError: the parameters or the shape are not for this space.
    """
    if len(input_shape) != 3:
        raise ConfigError(f"Networks of {space.name} take images; give their shape as in --input-shape 3,32,32.")
    shape: InputShape = (input_shape[0], input_shape[1], input_shape[2])
    return space.profile(params, shape, classes, batch_size)


def parse_shape(text: str) -> tuple[int, ...]:
    """Shape of one example, as in ``3,32,32``.

    Raises:
        ConfigError: not whole numbers above 0 with commas between them.
    """
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ConfigError(f"{text!r} is not the shape of an example; write it as in --input-shape 3,32,32.")
    return shape


def parse_image_shape(text: str) -> InputShape:
    """Channels, height and width of an image, as in ``3,32,32``.

    Raises:
        ConfigError: not three whole numbers above 0 with commas between them.
    """
    shape = parse_shape(text)
    if len(shape) != 3:
        raise ConfigError(f"{text!r} is not the shape of an image; write it as in --input-shape 3,32,32.")
    return shape[0], shape[1], shape[2]
