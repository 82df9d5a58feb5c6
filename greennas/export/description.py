"""What a trained network is, expects and reached: the file ``architecture.json`` of a model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from greennas.architecture import Architecture
from greennas.energy import Kind
from greennas.errors import DataError, GreenNASError, bare_reason
from greennas.files import write_text
from greennas.space import InputShape

FORMAT = "greennas-model-1"


@dataclass(frozen=True)
class EnergyFigure:
    """One energy with its kind; the unit stands in the name that it is kept under.

    Attributes:
        value: in that unit; None if unavailable.
        kind: of the joules.
        low: lower bound, where known.
        high: upper bound, where known.
    """

    value: float | None
    kind: Kind
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return asdict(self) | {"kind": str(self.kind)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EnergyFigure:
        """Read what ``to_json`` wrote."""
        return cls(**{**data, "kind": Kind(data["kind"])})


@dataclass(frozen=True)
class ModelDescription:
    """What a trained network is, expects and reached.

    Attributes:
        architecture: the network.
        input_shape: channels, height and width of one image.
        class_names: one a class, in the order of the logits.
        mean: per channel, in units of 0..1, that images are normalised by.
        std: per channel, likewise.
        dataset: name of the data set, as ``load_data`` takes it.
        data_settings: further arguments of ``load_data`` that it was loaded with, but for the folder.
        accuracy: 0..1 by split ("validation", "test"); only what is known.
        energy: "train_energy_j", "inference_energy_j_per_1k"; only what was metered.
        metrics: "flops" (one image forward), "parameters", "latency_ms"; only what is known.
        training: the plan, as ``TrainingPlan.to_json`` gives it.
        precision: that its accuracy was evaluated in; the weights are float32.
        notes: what a reader of the figures must know, such as a subset of the train split.
    """

    architecture: Architecture
    input_shape: InputShape
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dataset: str
    data_settings: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, float] = field(default_factory=dict)
    energy: Mapping[str, EnergyFigure] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def data_title(self) -> str:
        """The data set's name to show: of a folder its last part alone, of a set of the hub its name there."""
        kind, _, name = self.dataset.partition(":")
        return (name.rstrip("/").rpartition("/")[2] if kind == "folder" else name) or self.dataset

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {
            "format": FORMAT,
            "architecture": self.architecture.to_json(),
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "class_names": list(self.class_names),
            "preprocessing": {"divide_by": 255, "mean": list(self.mean), "std": list(self.std)},
            "dataset": {"name": self.dataset, **self.data_settings},
            "accuracy": dict(self.accuracy),
            "energy": {name: figure.to_json() for name, figure in self.energy.items()},
            "metrics": dict(self.metrics),
            "training": dict(self.training),
            "precision": self.precision,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelDescription:
        """Read what ``to_json`` wrote.

        Raises:
            DataError: it is not the description of a model, or of another version.
            InvalidArchitectureError: its architecture does not belong to its id.
        """
        if data.get("format") != FORMAT:
            raise DataError(f"It is of the format {data.get('format')!r}, not {FORMAT!r}; export the model again.")
        try:
            channels, height, width = data["input_shape"]
            return cls(
                architecture=Architecture.from_json(data["architecture"]),
                input_shape=(channels, height, width),
                class_names=tuple(data["class_names"]),
                mean=tuple(data["preprocessing"]["mean"]),
                std=tuple(data["preprocessing"]["std"]),
                dataset=data["dataset"]["name"],
                data_settings={key: value for key, value in data["dataset"].items() if key != "name"},
                accuracy=_numbers(data["accuracy"]),
                energy={name: EnergyFigure.from_json(figure) for name, figure in data["energy"].items()},
                metrics=_numbers(data["metrics"]),
                training=data["training"],
                precision=data["precision"],
                notes=tuple(data["notes"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"It lacks or garbles {error}; export the model again.") from error

    @classmethod
    def of_checkpoint(cls, about: Mapping[str, Any]) -> ModelDescription:
        """What a checkpoint's facts say, as ``read_checkpoint`` gives them.

        Raises:
            DataError: a fact is missing.
        """
        try:
            channels, height, width = about["input_shape"]
            return cls(
                architecture=Architecture.from_json(about["architecture"]),
                input_shape=(channels, height, width),
                class_names=tuple(about["class_names"]),
                mean=tuple(about["mean"]),
                std=tuple(about["std"]),
                dataset=about["dataset"],
                accuracy={"validation": about["validation_accuracy"]},
                training=about["plan"],
                precision=about["precision"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"The checkpoint lacks or garbles {error}; train the network again.") from error

    def write(self, file: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_text(file, json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, file: Path) -> ModelDescription:
        """Read what ``write`` wrote.

        Raises:
            DataError: there is no such file, or it is no such description.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(
                f"{file.parent} is not a model folder ({file.name}: {bare_reason(error)}); "
                "give the --to of 'greennas export'."
            ) from error
        except ValueError as error:
            raise DataError(f"{file} is not JSON ({error}); export the model again.") from error
        if not isinstance(found, dict):
            raise DataError(f"{file} does not describe a model; export the model again.")
        try:
            return cls.from_json(found)
        except GreenNASError as error:
            raise DataError(f"{file} does not describe a model: {error}") from error


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    for name, value in values.items():
        if not isinstance(value, int | float):
            raise TypeError(f"{name}, which is {value!r} and no number")
    return dict(values)
