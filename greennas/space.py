"""Search spaces: what a space file has to offer, and how one is found by name, path or entry point."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from torch import nn

from greennas.architecture import Architecture, Params
from greennas.errors import SpaceError
from greennas.profile import CostProfile, profile
from greennas.walk import materialise

ENTRY_POINT_GROUP = "greennas.search_spaces"
InputShape = tuple[int, int, int]
"""Channels, height, width of one image."""
_SIZE = "let it return a whole number or None, or leave it out"


class Trial(Protocol):
    """The part of ``optuna.Trial`` that a search space may use."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of ``choices``."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """An integer in [low, high]."""
        ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number in [low, high]."""
        ...


@dataclass(frozen=True)
class SearchSpace:
    """A space file with its skeleton options bound.

    A space file is a Python module with two functions,

    - ``sample(trial) -> params``: suggests parameters as in Optuna and returns them (JSON values);
      what is never valid is never suggested;
    - ``build(params, input_shape, num_classes) -> nn.Module``: maps ``(batch, *input_shape)`` images
      to ``(batch, num_classes)`` logits;

    and, where it can say more, ``canonical(params) -> str`` (equal for two parameter sets that are the
    same network; default: the sorted JSON), ``profile(params, input_shape, num_classes, batch_size)
    -> CostProfile`` (a closed form; default: a walk of the module), ``training(params) -> dict`` (for
    example ``{"batch_size": 64, "learning_rate": 0.05}``), ``features(params) -> dict[str, float]`` (what its
    accuracy may depend on beside its costs; default: the suggestions) and ``size() -> int`` (number of
    architectures). Keyword-only arguments of these functions are the options of the space.
    """

    name: str
    source: str
    module: ModuleType = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def sample(self, trial: Trial) -> dict[str, Any]:
        """Suggest one architecture's parameters through ``trial`` and return them."""
        return dict(self._call("sample", trial))

    def build(self, params: Params, input_shape: InputShape, num_classes: int) -> nn.Module:
        """The network of ``params`` for images of ``input_shape`` (channels, height, width); lazy layers know it."""
        module: nn.Module = self._call("build", params, tuple(input_shape), num_classes)
        if isinstance(module, nn.Module):
            materialise(module, tuple(input_shape))
        return module

    def canonical(self, params: Params) -> str:
        """Canonical form: equal for two parameter sets that are the same network."""
        if self._has("canonical"):
            return str(self._call("canonical", params))
        return json.dumps(dict(params), sort_keys=True)

    def architecture(self, params: Params) -> Architecture:
        """``params`` as an ``Architecture`` of this space."""
        return Architecture(self.source, dict(params), self.canonical(params), self.changed_options)

    def profile(
        self,
        params: Params,
        input_shape: InputShape = (3, 32, 32),
        num_classes: int = 10,
        batch_size: int = 1,
    ) -> CostProfile:
        """Cost profile of the network, by the space's closed form or by walking the module."""
        if self._has("profile"):
            found: CostProfile = self._call("profile", params, tuple(input_shape), num_classes, batch_size)
            return found
        return profile(self.build(params, input_shape, num_classes), tuple(input_shape), batch_size)

    def training(self, params: Params) -> dict[str, Any]:
        """Training parameters that the space suggests for ``params``; empty where it has no opinion."""
        return dict(self._call("training", params)) if self._has("training") else {}

    def features(self, params: Params) -> dict[str, float] | None:
        """Numbers that accuracy may depend on; None where the space leaves that to its suggestions."""
        return dict(self._call("features", params)) if self._has("features") else None

    @property
    def size(self) -> int | None:
        """Number of architectures, or None where the space does not say.

        Raises:
            SpaceError: the space's function fails, or returns something else.
        """
        try:
            said = self._call("size") if self._has("size") else None
            count = None if said is None else int(said)
        except Exception as error:
            raise SpaceError(f"size() of the search space {self.name} fails ({error!r}); {_SIZE}.") from error
        if count != said:
            raise SpaceError(f"size() of the search space {self.name} returns {said!r}; {_SIZE}.")
        return count

    @property
    def default_options(self) -> dict[str, Any]:
        """Every option of the space with its default."""
        return dict(_options(self.module))

    @cached_property
    def changed_options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        defaults = self.default_options
        return {key: value for key, value in self.options.items() if defaults[key] != value}

    @property
    def summary(self) -> str:
        """First line of the space's docstring."""
        return (inspect.getdoc(self.module) or "").partition("\n")[0]

    def __getattr__(self, name: str) -> Any:
        """The space's further public functions, such as ``from_string``, with its options bound."""
        if not name.startswith("_"):
            function = getattr(self.module, name, None)
            if callable(function):
                return lambda *args: self._call(name, *args)
        raise AttributeError(f"search space {self.name!r} has no attribute {name!r}")

    def _has(self, function: str) -> bool:
        return callable(getattr(self.module, function, None))

    def _call(self, function: str, *args: Any) -> Any:
        target: Callable[..., Any] = getattr(self.module, function)
        accepted = _keyword_only(target)
        return target(*args, **{key: value for key, value in self.options.items() if key in accepted})


def load_space(name: str, **options: Any) -> SearchSpace:
    """Load a search space.

    Args:
        name: a name (built in, or published by an installed package under the entry point group
            ``greennas.search_spaces``) or the path of a Python file.
        options: skeleton options of the space, such as ``width=16``.

    Raises:
        SpaceError: no such space or file, a file that does not run, a missing function, an unknown option.
    """
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        module, source, label = _module_of_file(path), str(path), path.stem
    else:
        found = {point.name: point for point in available_spaces()}
        if name not in found:
            raise SpaceError(
                f"There is no search space {name!r}; choose one of {', '.join(sorted(found))}, "
                "or give the path of a Python file that ends in .py."
            )
        module, source, label = _load(found[name]), name, name
    for function in ("sample", "build"):
        if not callable(getattr(module, function, None)):
            raise SpaceError(f"The search space {name} has no function {function!r}; add it.")
    known = _options(module)
    for key in options:
        if key not in known:
            raise SpaceError(
                f"The search space {name} has no option {key!r}; its options are: {', '.join(known) or 'none'}."
            )
    return SearchSpace(label, source, module, dict(options))


def available_spaces() -> list[EntryPoint]:
    """Entry points of all installed search spaces, sorted by name."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)


def _load(point: EntryPoint) -> ModuleType:
    try:
        module = point.load()
    except (Exception, SystemExit) as error:
        raise SpaceError(
            f"The search space {point.name!r} ({point.value}) does not load ({error!r}); mend or remove its package."
        ) from error
    assert isinstance(module, ModuleType)
    return module


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SpaceError(f"There is no search space file {path}; check the path.")
    name = f"greennas_space_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that dataclasses and pickles of the file find their module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SpaceError(f"The search space file {path} does not run: {error!r}; mend it and try again.") from error
    return module


@cache
def _keyword_only(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


@cache
def _options(module: ModuleType) -> dict[str, Any]:
    functions = ("sample", "build", "canonical", "profile", "training", "features", "size")
    found: dict[str, Any] = {}
    for function in functions:
        if callable(getattr(module, function, None)):
            found |= _keyword_only(getattr(module, function))
    return found
