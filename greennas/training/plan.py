"""How a network is trained, and what a training reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from greennas.errors import ConfigError
from greennas.training.rung import Rung

Precision = Literal["float32", "bfloat16"]
Runtime = Literal["eager", "graph", "compile"]
Optimizer = Literal["sgd", "muon"]
Schedule = Literal["constant", "cosine", "onecycle"]


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained.

    Attributes:
        epochs: passes over the train split; fractions are allowed.
        batch_size: images a step; a last incomplete batch of an epoch is left out (every epoch mixes anew).
        optimizer: ``sgd`` with Nesterov momentum, or ``muon``, which steps convolutions in all directions alike (see
            ``greennas/training/optimizer.py``) and the other weights as SGD does.
        learning_rate: at its highest.
        weight_decay: of weights with two or more dimensions (not of biases and norms).
        momentum: 0 to below 1.
        label_smoothing: 0 to below 1.
        ema: evaluate the moving average of the weights, not the last weights, with batch norm's statistics taken
            anew; with ``onecycle``, which leads to its last weights, only the statistics are.
        augment: random crops, and random flips where a mirrored image keeps its class (not for digits).
        schedule: of the learning rate: ``constant``, ``cosine`` down to 0 at the last step, or
            ``onecycle``, up for a quarter of the steps and down to 0 (see ``greennas/training/schedule.py``).
        precision: ``auto`` is bfloat16 on a GPU that has it, else float32.
        runtime: of the training steps: ``eager``, operator by operator, ``graph``, CUDA graphs, ``compile``, or
            ``auto``, see ``greennas.training.runtime.quickest``.
        microbatch: images whose gradients are computed at once, to be added up to those of the batch; None: all, and
            fewer where memory runs out. Batch norm takes its statistics of so many images.
        seed: of the order of the images, the augmentation and of dropout; the caller seeds what it builds.
        rungs: at which the network is evaluated and reported; numbers are epochs. Those that are trainings of their own
            come first; the others are looks at this training, at rising epochs below ``epochs``.
    """

    epochs: float = 4
    batch_size: int = 64
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    momentum: float = 0.9
    label_smoothing: float = 0.1
    ema: bool = True
    augment: bool = False
    schedule: Schedule = "constant"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    microbatch: int | None = None
    runtime: Runtime | Literal["auto"] = "auto"
    seed: int = 0
    rungs: tuple[Rung, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rungs", tuple(map(Rung.of, self.rungs)))
        looks = [rung.epochs for rung in self.looks]
        checks = {
            "epochs": (0 < self.epochs < math.inf, "above 0"),
            "batch_size": (_whole(self.batch_size) and self.batch_size >= 2, "a whole number, 2 or more"),
            "microbatch": (
                self.microbatch is None or (_whole(self.microbatch) and self.microbatch >= 2),
                "a whole number, 2 or more, or left out",
            ),
            "optimizer": (self.optimizer in get_args(Optimizer), "sgd or muon"),
            "learning_rate": (
                isinstance(self.learning_rate, int | float) and 0 < self.learning_rate < math.inf,
                "a number above 0",
            ),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "momentum": (0 <= self.momentum < 1, "0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "0 to below 1"),
            "schedule": (self.schedule in get_args(Schedule), "constant, cosine or onecycle"),
            "precision": (self.precision in ("auto", "float32", "bfloat16"), "auto, float32 or bfloat16"),
            "runtime": (self.runtime in ("auto", *get_args(Runtime)), "auto, eager, graph or compile"),
            "seed": (_whole(self.seed), "a whole number"),
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

    @property
    def averages(self) -> bool:
        """Whether averaged weights are evaluated."""
        return self.ema and self.schedule != "onecycle"

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


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
        microbatch: images whose gradients were computed at once in the last step; None: all of the batch.
        runtime: of the training steps.
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
    microbatch: int | None
    runtime: Runtime
    threads: int


@dataclass(frozen=True)
class StepsResult:
    """A few measured training steps: how many, their wall-clock seconds, and the precision they ran in."""

    steps: int
    seconds: float
    precision: Precision
