"""How a network is trained, and what a training reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from greennas.errors import ConfigError
from greennas.training.rung import Rung

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained.

    Attributes:
        epochs: passes over the train split; fractions are allowed.
        batch_size: images a step; a last incomplete batch of an epoch is left out (every epoch mixes anew).
        learning_rate: of SGD with Nesterov momentum, after the warm-up.
        weight_decay: of weights with two or more dimensions (not of biases and norms).
        momentum: 0 to below 1.
        label_smoothing: 0 to below 1.
        ema: evaluate the moving average of the weights, not the last weights.
        augment: random crops, and random flips where a mirrored image keeps its class (not for digits).
        schedule: of the learning rate after the warm-up: ``constant``, or ``cosine`` down to 0 at the last step.
        precision: ``auto`` measures on a CPU whether bfloat16 is faster for this network, and takes it on a GPU.
        seed: of the order of the images, the augmentation and of dropout; the caller seeds what it builds.
        rungs: at which the network is evaluated and reported; numbers are epochs. Those that are trainings of their own
            come first; the others are looks at this training, at rising epochs below ``epochs``.
    """

    epochs: float = 4
    batch_size: int = 64
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    momentum: float = 0.9
    label_smoothing: float = 0.1
    ema: bool = True
    augment: bool = False
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
    rungs: tuple[Rung, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rungs", tuple(map(Rung.of, self.rungs)))
        looks = [rung.epochs for rung in self.looks]
        checks = {
            "epochs": (0 < self.epochs < math.inf, "above 0"),
            "batch_size": (self.batch_size >= 2, "2 or more"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "momentum": (0 <= self.momentum < 1, "0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "0 to below 1"),
            "schedule": (self.schedule in ("constant", "cosine"), "constant or cosine"),
            "precision": (self.precision in ("auto", "float32", "bfloat16"), "auto, float32 or bfloat16"),
            "rungs": (
                looks == sorted(set(looks)) and all(epochs < self.epochs for epochs in looks),
                f"rising epoch counts between 0 and epochs ({self.epochs:g})",
            ),
        }
        for name, (good, rule) in checks.items():
            if not good:
                shown = looks if name == "rungs" else getattr(self, name)
                raise ConfigError(f"The training's {name} is {shown!r}; it must be {rule}.")

    @property
    def separate_rungs(self) -> tuple[Rung, ...]:
        """Rungs that are trainings of their own, done before, in their order."""
        return tuple(rung for rung in self.rungs if rung.separate)

    @property
    def looks(self) -> tuple[Rung, ...]:
        """Rungs that are looks at this training."""
        return tuple(rung for rung in self.rungs if not rung.separate)

    def steps_per_epoch(self, train_images: int) -> int:
        """Training steps an epoch over ``train_images`` images."""
        return max(1, train_images // self.batch_size)

    def steps(self, train_images: int, epochs: float | None = None) -> int:
        """Training steps of ``epochs`` epochs (default: all) over ``train_images`` images."""
        return max(1, round((self.epochs if epochs is None else epochs) * self.steps_per_epoch(train_images)))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return asdict(self) | {"rungs": [rung.plain for rung in self.rungs]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingPlan:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: an unknown or malformed field.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"Not a training plan: {error}; give the fields of TrainingPlan.") from error


@dataclass(frozen=True)
class RungReport:
    """What a training has reached after ``epoch`` epochs, on the validation split.

    Attributes:
        epoch: passes over what was trained on.
        steps: training steps done.
        examples_seen: images trained on, repetitions counted.
        accuracy: 0..1.
        loss: cross-entropy, without label smoothing.
        seconds: wall-clock time of the training steps.
        resolution: side in pixels that the images were made smaller to; None: as they are.
        data_share: of the train split.
    """

    epoch: float
    steps: int
    examples_seen: int
    accuracy: float
    loss: float
    seconds: float
    resolution: int | None = None
    data_share: float = 1.0

    @property
    def rung(self) -> Rung:
        """The budget after which it was reached."""
        return Rung(self.epoch, self.resolution, self.data_share)


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a training reached.

    Attributes:
        accuracy: on the validation split, 0..1, of the averaged weights.
        loss: cross-entropy on the validation split, without label smoothing.
        steps: training steps done.
        examples_seen: images trained on, repetitions counted.
        seconds: wall-clock time of the training steps, without the evaluations.
        rungs: the reports so far.
        stopped: whether ``on_rung`` stopped the training; accuracy and loss are then the last rung's.
        state_dict: the evaluated weights; the module holds the same.
        precision: of the forward and backward passes.
        threads: of PyTorch on the CPU; results repeat bit by bit for the same precision and threads.
    """

    accuracy: float
    loss: float
    steps: int
    examples_seen: int
    seconds: float
    rungs: tuple[RungReport, ...]
    stopped: bool
    state_dict: dict[str, Tensor]
    precision: Precision
    threads: int


@dataclass(frozen=True)
class StepsResult:
    """A few measured training steps: how many, their wall-clock seconds, and the precision they ran in."""

    steps: int
    seconds: float
    precision: Precision
