"""NAS-Bench-201 cells of "none", "skip" and "conv 3x3" in two widths: 196 networks, few enough to measure each of them.

Of the 662 cells with a path from input to output 98 are different networks. The skeleton has one cell a stage, and
its width (4 or 8 channels in the first stage) is searched beside the cell, since after short trainings the cell alone
moves accuracy by little more than the seed does. Parameters: ``{"width": 4, "1<-0": "nor_conv_3x3", ...}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from torch import nn

from greennas.errors import InvalidArchitectureError
from greennas.profile import CostProfile
from greennas.space import Trial
from search_spaces import nasbench201
from search_spaces._pieces import Shape

OPERATIONS = ("none", "skip_connect", "nor_conv_3x3")
WIDTHS = (4, 8)
_DEPTH = 1
_EDGES = tuple(f"{node}<-{source}" for node, source in nasbench201.EDGES)


class _Narrowed:
    """A trial that is offered these operations where ``nasbench201.sample`` offers all of its own."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._trial.suggest_categorical(name, [choice for choice in choices if choice in OPERATIONS])


def sample(trial: Trial) -> dict[str, Any]:
    """Suggest a width, and a cell as ``nasbench201`` does."""
    width = trial.suggest_categorical("width", list(WIDTHS))
    return {"width": width, **nasbench201.sample(_Narrowed(trial))}  # type: ignore[arg-type]


def build(params: Mapping[str, Any], input_shape: Shape, num_classes: int) -> nn.Module:
    """The network of a width and a cell.

    Raises:
        InvalidArchitectureError: not of this space, or no path from the cell's input to its output.
    """
    width, cell = _parts(params)
    return nasbench201.build(cell, input_shape, num_classes, width=width, depth=_DEPTH)


def canonical(params: Mapping[str, Any]) -> str:
    """Equal for the same width and the same network of the cell, by ``nasbench201.canonical``.

    Raises:
        InvalidArchitectureError: as for ``build``.
    """
    width, cell = _parts(params)
    return f"{width}:{nasbench201.canonical(cell)}"


def profile(params: Mapping[str, Any], input_shape: Shape, num_classes: int, batch_size: int) -> CostProfile:
    """Closed form, by ``nasbench201.profile``.

    Raises:
        InvalidArchitectureError: as for ``build``.
    """
    width, cell = _parts(params)
    return nasbench201.profile(cell, input_shape, num_classes, batch_size, width=width, depth=_DEPTH)


def architectures() -> Iterator[dict[str, Any]]:
    """Every different network once."""
    seen: set[str] = set()
    for width, *operations in product(WIDTHS, *[OPERATIONS] * len(_EDGES)):
        params = {"width": width, **dict(zip(_EDGES, operations, strict=True))}
        try:
            form = canonical(params)
        except InvalidArchitectureError:  # no path from input to output
            continue
        if form not in seen:
            seen.add(form)
            yield params


def size() -> int:
    """Number of different networks."""
    return 196


def _parts(params: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    cell = {name: value for name, value in params.items() if name != "width"}
    if params.get("width") not in WIDTHS or not set(cell.values()) <= set(OPERATIONS):
        raise InvalidArchitectureError(
            f"{dict(params)} is not of this space; give a width of {WIDTHS[0]} or {WIDTHS[1]} and a cell of "
            f"{', '.join(OPERATIONS)}."
        )
    return int(params["width"]), cell
