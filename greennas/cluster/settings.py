"""The settings of searches on Ray, and what one training gets of a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator


class ClusterSettings(BaseModel):
    """Where and with what trainings run under ``executor: ray``."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    address: str | None = None
    """``auto`` or host:port of a running cluster; None: Ray is started on this machine."""
    resources: dict[str, float] | None = None
    """What one training gets, as ``gpu=1,cpu=4``; None: a whole GPU where the cluster has any, and one core."""
    accelerator: str | None = None
    """The one kind of GPU that trainings run on, as Ray names it (``A100``); None: the cluster has one kind only."""
    normalise_to: str | None = None
    """Device to whose joules those of all others are converted, by their profiles; None: there is one kind."""
    allow_shared_gpu: bool = False
    """Let trainings share a GPU; the energy of each is then that of all that run on it, and marked so."""
    dashboard: str | None = None
    """Host that the dashboard of a Ray started here listens on, as ``127.0.0.1``; None: there is no dashboard."""

    @field_validator("resources", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return parse_resources(value) if isinstance(value, str) else value

    @field_validator("resources")
    @classmethod
    def _usable(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for name, amount in (value or {}).items():
            if not name or not 0 < amount < float("inf"):
                raise ValueError(f"a training cannot have {name}={amount:g}; give amounts above 0, as in gpu=1,cpu=4")
            if name in ("CPU", "GPU"):
                raise ValueError(f"write {name.lower()} for {name}, as in gpu=1,cpu=4")
        return value

    @model_validator(mode="after")
    def _whole_gpus(self) -> ClusterSettings:
        gpus = (self.resources or {}).get("gpu", 0.0)
        if gpus > 1:
            raise ValueError(f"a training runs on one GPU, so gpu={gpus:g} would leave others idle; take gpu=1")
        if 0 < gpus < 1 and not self.allow_shared_gpu:
            raise ValueError(
                f"with gpu={gpus:g} trainings share a GPU and the energy of each cannot be told; take gpu=1, or "
                "--allow-shared-gpu to have it marked as shared"
            )
        return self

    def request(self, gpus: bool) -> dict[str, float]:
        """What one training asks Ray for, in Ray's names.

        Args:
            gpus: whether the cluster has GPUs for it.
        """
        wanted = dict(self.resources or ({"gpu": 1.0} if gpus else {}))
        wanted.setdefault("cpu", 1.0)
        asked = {{"cpu": "CPU", "gpu": "GPU"}.get(name, name): amount for name, amount in wanted.items()}
        if self.accelerator is not None:
            asked[f"accelerator_type:{self.accelerator}"] = 0.001  # Ray's way to ask for a kind of GPU
        return asked


def parse_resources(text: str) -> Mapping[str, float]:
    """Amounts by name of ``gpu=1,cpu=4,meter=1``.

    Raises:
        ValueError: another spelling.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, sign, amount = (each.strip() for each in part.partition("="))
        try:
            found[name] = float(amount)
        except ValueError:
            sign = ""
        if not sign:
            raise ValueError(f"{part.strip()!r} is no resource; write for example gpu=1,cpu=4")
    return found
