"""MobileNets that repeat their choices over stages: 192 networks, few enough to measure each of them.

The width multiplier, one expansion and squeeze-and-excitation hold for all blocks, one kernel for the first two stages
and one for the other three, and two blocks a stage come in the first two, the other three or no stages. The stem has 8
channels. Parameters: ``{"multiplier": 0.5, "expansion": 3, "squeeze-excite": False, "early kernel": 3, ...}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from torch import nn

from greennas.errors import InvalidArchitectureError
from greennas.profile import CostProfile
from greennas.space import Trial
from search_spaces import mobilenet
from search_spaces._pieces import Shape

CHOICES: dict[str, tuple[Any, ...]] = {
    "multiplier": mobilenet.MULTIPLIERS,
    "expansion": (3, 6),
    "squeeze-excite": (False, True),
    "early kernel": mobilenet.KERNELS,
    "late kernel": mobilenet.KERNELS,
    "deep": ("none", "early", "late"),
}
_EARLY = 2  # stages
_WIDTH = 8


def sample(trial: Trial) -> dict[str, Any]:
    """Suggest one value for each choice."""
    return {name: trial.suggest_categorical(name, list(values)) for name, values in CHOICES.items()}


def build(params: Mapping[str, Any], input_shape: Shape, num_classes: int) -> nn.Module:
    """The network of ``params``.

    Raises:
        InvalidArchitectureError: not of this space.
    """
    return mobilenet.build(_spelt_out(params), input_shape, num_classes, width=_WIDTH)


def canonical(params: Mapping[str, Any]) -> str:
    """Equal for the same network, by ``mobilenet.canonical``.

    Raises:
        InvalidArchitectureError: not of this space.
    """
    return mobilenet.canonical(_spelt_out(params), width=_WIDTH)


def profile(params: Mapping[str, Any], input_shape: Shape, num_classes: int, batch_size: int) -> CostProfile:
    """Closed form, by ``mobilenet.profile``.

    Raises:
        InvalidArchitectureError: not of this space.
    """
    return mobilenet.profile(_spelt_out(params), input_shape, num_classes, batch_size, width=_WIDTH)


def architectures() -> Iterator[dict[str, Any]]:
    """Every different network once."""
    seen: set[str] = set()
    for values in product(*CHOICES.values()):
        params = dict(zip(CHOICES, values, strict=True))
        form = canonical(params)
        if form not in seen:
            seen.add(form)
            yield params


def _spelt_out(params: Mapping[str, Any]) -> dict[str, Any]:
    """What ``mobilenet`` calls the same network."""
    if set(params) != set(CHOICES) or any(params[name] not in values for name, values in CHOICES.items()):
        raise InvalidArchitectureError(f"{dict(params)} is not of this space; give what its sample suggests.")
    found: dict[str, Any] = {"multiplier": params["multiplier"]}
    for stage in range(1, len(mobilenet.STAGES) + 1):
        part = "early" if stage <= _EARLY else "late"
        blocks = found[f"stage {stage} blocks"] = 2 if params["deep"] == part else 1
        found[f"stage {stage} squeeze-excite"] = params["squeeze-excite"]
        for block in range(1, blocks + 1):
            found[f"stage {stage} block {block} kernel"] = params[f"{part} kernel"]
            found[f"stage {stage} block {block} expansion"] = params["expansion"]
    return found
