"""What classifying images cost: one row for each way to run a network and each batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from greennas.energy import Kind, Reading
from greennas.errors import ConfigError
from greennas.inference.variant import Variant
from greennas.inference.windows import Figure, WindowPlan
from greennas.pareto import is_non_dominated


@dataclass(frozen=True)
class VariantFacts:
    """What holds for a variant whatever the batch size.

    Attributes:
        variant: the way to run the network.
        accuracy: 0..1 on the report's split; None where no data is known.
        agreement: share of these images that get the same class as from the network as it is, in eager float32.
        parameters: number of the network's parameters.
        weight_bytes: bytes of its weights as they are kept; of an ONNX model of its file.
    """

    variant: Variant
    accuracy: float | None
    agreement: float | None
    parameters: int
    weight_bytes: int


@dataclass(frozen=True)
class InferenceRow:
    """What one variant cost at one batch size, in steady state. Energies are None where nothing could be read.

    Attributes:
        variant: the way to run the network.
        batch_size: images in a call.
        component: what was metered, "gpu" or "cpu".
        kind: kind of all joules here.
        image_j: joules an image.
        bounds_image_j: what the counter or the model leaves open: low, high.
        ratio: ``image_j`` over the baseline's at the same batch size, turn by turn; None for other kinds of joules.
        images_per_s: images a second.
        latency_p50_ms: median milliseconds of a call, until its result is there.
        latency_p99_ms: 99th percentile; None with fewer than 100 calls.
        calls: calls in the windows.
        windows: their number.
        window_s: their mean seconds.
        shared: whether something else was seen to run on the device: joules are then upper bounds.
    """

    variant: Variant
    batch_size: int
    component: str
    kind: Kind
    image_j: Figure | None
    bounds_image_j: tuple[float, float] | None
    ratio: Figure | None
    images_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float | None
    calls: int
    windows: int
    window_s: float
    shared: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return asdict(self) | {"kind": str(self.kind)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InferenceRow:
        """Read what ``to_json`` wrote."""
        bounds = data["bounds_image_j"]
        return cls(
            **{
                **data,
                "variant": Variant(**data["variant"]),
                "kind": Kind(data["kind"]),
                "image_j": Figure.from_json(data["image_j"]),
                "ratio": Figure.from_json(data["ratio"]),
                "bounds_image_j": (bounds[0], bounds[1]) if bounds else None,
            }
        )


@dataclass(frozen=True)
class Preparation:
    """What it took to make a variant, once: fine-tuning, export, calibration.

    Attributes:
        what: the work, in words.
        reading: its energy.
        note: what came of it; may be empty.
    """

    what: str
    reading: Reading
    note: str = ""


@dataclass(frozen=True)
class InferenceReport:
    """What classifying images cost on one machine, in windows taken in turns.

    Attributes:
        rows: one for each variant and batch size.
        facts: one for each variant, in the same order; the first is the baseline.
        unavailable: what did not run here, with the reason.
        preparations: what it took to make the variants.
        data: name of the data set of each network; None where none is known.
        split: of the accuracies, "validation" or "test".
        plan: the windows.
        environment: device, threads, versions.
        notes: what a reader of the figures must know.
    """

    rows: tuple[InferenceRow, ...]
    facts: tuple[VariantFacts, ...]
    unavailable: tuple[tuple[str, str], ...]
    preparations: tuple[Preparation, ...]
    data: Mapping[str, str | None]
    split: str
    plan: WindowPlan
    environment: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def facts_of(self, variant: Variant) -> VariantFacts:
        """What holds for a variant whatever the batch size."""
        return next(each for each in self.facts if each.variant == variant)

    def front(self, batch_size: int) -> list[InferenceRow]:
        """Rows of a batch size that no other one outdoes in accuracy and joules; one kind and component alone.

        Which of several kinds: that of the first row with an accuracy and joules.
        """
        known = [
            (row, row.image_j.value, accuracy)
            for row in self.rows
            if row.batch_size == batch_size and row.image_j is not None
            if (accuracy := self.facts_of(row.variant).accuracy) is not None
        ]
        if not known:
            return []
        first = known[0][0]
        known = [each for each in known if (each[0].kind, each[0].component) == (first.kind, first.component)]
        mask = is_non_dominated(np.array([[energy_j, -accuracy] for _, energy_j, accuracy in known]))
        return [row for (row, _, _), best in zip(known, mask, strict=True) if best]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {
            "rows": [row.to_json() for row in self.rows],
            "facts": [asdict(each) for each in self.facts],
            "unavailable": [{"what": what, "reason": reason} for what, reason in self.unavailable],
            "preparations": [
                {"what": each.what, "reading": each.reading.to_json(), "note": each.note} for each in self.preparations
            ],
            "data": dict(self.data),
            "split": self.split,
            "plan": asdict(self.plan),
            "environment": dict(self.environment),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InferenceReport:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: a missing, unknown or malformed field.
        """
        try:
            known = {each.name: data[each.name] for each in fields(cls)}
            return cls(
                **{
                    **known,
                    "rows": tuple(InferenceRow.from_json(row) for row in data["rows"]),
                    "facts": tuple(
                        VariantFacts(**{**each, "variant": Variant(**each["variant"])}) for each in data["facts"]
                    ),
                    "unavailable": tuple((each["what"], each["reason"]) for each in data["unavailable"]),
                    "preparations": tuple(
                        Preparation(each["what"], Reading.from_json(each["reading"]), each["note"])
                        for each in data["preparations"]
                    ),
                    "plan": WindowPlan(**data["plan"]),
                    "notes": tuple(data["notes"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"Not a report of bench: {error!r}; give JSON as written by to_json.") from error
