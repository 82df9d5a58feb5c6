"""One network of a search space: its parameters and its canonical id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from greennas.errors import InvalidArchitectureError

Params = Mapping[str, Any]
"""What ``sample`` of a search space returns: names to JSON values."""


@dataclass(frozen=True)
class Architecture:
    """A network of a search space; two architectures with one ``id`` are the same network.

    Attributes:
        space: what ``load_space`` was given (a name or the path of a file).
        params: what the space's ``sample`` returned; JSON values only.
        canonical: the space's canonical form of the parameters.
        options: the skeleton options of the space (width, depth, ...) that differ from its defaults.
    """

    space: str
    params: Params
    canonical: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits that identify the network."""
        key = json.dumps([self.space, dict(self.options), self.canonical], sort_keys=True)
        return hashlib.sha256(key.encode()).hexdigest()[:12]

    def __hash__(self) -> int:
        return hash(self.id)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {
            "id": self.id,
            "space": self.space,
            "options": dict(self.options),
            "params": dict(self.params),
            "canonical": self.canonical,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Architecture:
        """Read what ``to_json`` wrote.

        Raises:
            InvalidArchitectureError: a field is missing, or the id does not belong to the other fields.
        """
        try:
            if not isinstance(data["space"], str):
                raise TypeError(f"space is {data['space']!r}, not a name")
            architecture = cls(
                space=data["space"],
                params=dict(data["params"]),
                canonical=data["canonical"],
                options=dict(data.get("options", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArchitectureError(
                f"Not an architecture: {error!r}; give JSON with space, params and canonical."
            ) from error
        if data.get("id", architecture.id) != architecture.id:
            raise InvalidArchitectureError(
                f"The architecture's id {data['id']} does not belong to its parameters "
                f"(they give {architecture.id}); the file was edited or is of another space version."
            )
        return architecture
