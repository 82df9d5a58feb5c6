"""A table as a problem to search: evaluations with their joules, and figures of merit of what was evaluated when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from longer import RUNS, longer
from numpy.typing import NDArray

from greennas.errors import DataError
from greennas.pareto import hypervolume, is_non_dominated
from greennas.space import InputShape, SearchSpace, load_space
from greennas.tabular import Table, read_ec_nas, read_table
from greennas.tabular.table import JOULES

Array = NDArray[np.float64]
View = Literal["tight", "linear", "loose"]
KWH = JOULES["kwh"]
MARGIN = 0.1  # of the true front's range, beyond its worst point
TIGHT: tuple[View, ...] = ("tight", "linear")


@dataclass(frozen=True)
class OwnTable:
    """A space of few networks, each trained by ``measure.py``: its module and the table lie beside this file.

    Attributes:
        title: to people.
        family: of the networks; what the files begin with.
        epochs: of a training.
        looks: epochs after which a training is evaluated on its way.
    """

    title: str
    family: str
    epochs: int
    looks: tuple[int, ...] = ()

    @property
    def space(self) -> Path:
        """The space's module."""
        return Path(__file__).with_name(f"{self.family}_subset.py")

    @property
    def file(self) -> Path:
        """A row a training."""
        return Path(__file__).with_name(f"{self.family}_fashion_mnist.csv")


OWN = {
    "FM": OwnTable("NAS-Bench-201 subset", "nasbench201", epochs=3),
    "MN": OwnTable("MobileNet subset", "mobilenet", epochs=4, looks=(1, 2, 3)),
}
TABLES = ("5V", "4V", *OWN, "5V-36", "5V-108", "4V-108")


@dataclass(frozen=True, eq=False)
class Problem:
    """Error (1 - accuracy) and training energy of every architecture of a table.

    The truth of an architecture is the mean of its repeats; an evaluation draws one of them.

    Attributes:
        name: as the command line calls it.
        title: what was trained and measured.
        table: the trainings.
        source: where their energy comes from.
        batch_size: of the trainings.
        input_shape: channels, height, width of an image.
        num_classes: of the images.
        device_type: ``cuda`` or ``cpu``: what they were trained on.
        made_from: the published table whose luck was dealt out anew to make this one (``worlds.py``).
    """

    name: str
    title: str
    table: Table
    source: str
    batch_size: int = 256
    input_shape: InputShape = (3, 32, 32)
    num_classes: int = 10
    device_type: str = "cuda"
    made_from: Problem | None = None

    @property
    def space(self) -> SearchSpace:
        """The search space of the table."""
        return self.table.space

    @cached_property
    def truth(self) -> dict[str, tuple[float, float]]:
        """Error and kWh by architecture."""
        return {
            key: (
                1 - float(np.mean([row["accuracy"] for row in rows])),
                float(np.mean([self.table.energy_j(row) for row in rows])) / KWH,
            )
            for key, rows in self.table.rows.items()
        }

    @cached_property
    def points(self) -> Array:
        """Truth of all architectures, (n, 2)."""
        return np.array(list(self.truth.values()))

    def losses(self, points: Array, view: View) -> Array:
        """Error and kWh, (n, 2), as a view takes them: "tight" has log kWh."""
        return np.column_stack([points[:, 0], np.log(points[:, 1])]) if view == "tight" else points

    @cached_property
    def references(self) -> dict[View, Array]:
        """Reference point of each view.

        "tight" (log energy) and "linear": the true front's worst value plus a tenth of its range. "loose": error 100%
        and the largest energy of the table.
        """
        found: dict[View, Array] = {"loose": np.array([1.0, self.points[:, 1].max()])}
        for view in TIGHT:
            losses = self.losses(self.points, view)
            front = losses[is_non_dominated(losses)]
            found[view] = np.asarray(front.max(axis=0) + MARGIN * np.ptp(front, axis=0))
        return found

    @cached_property
    def best_volumes(self) -> dict[View, float]:
        """Hypervolume of the whole table in each view."""
        return {view: hypervolume(self.losses(self.points, view), point) for view, point in self.references.items()}

    @cached_property
    def mean_kwh(self) -> float:
        """Energy of a training, over all architectures."""
        return float(self.points[:, 1].mean())

    def about(self) -> dict[str, Any]:
        """What figures of this problem refer to, JSON-ready."""
        reference = {view: point.tolist() for view, point in self.references.items()}
        reference["tight"][1] = float(np.exp(reference["tight"][1]))
        front = self.points[is_non_dominated(self.points)]
        return {
            "title": self.title,
            "energy": self.source,
            "architectures": len(self.truth),
            "trainings": sum(map(len, self.table.rows.values())),
            "front": len(np.unique(front, axis=0)),
            "mean_kwh": self.mean_kwh,
            "bargain_points": self.bargain_points,
            "reference_error_and_kwh": reference,
        }

    @cached_property
    def bargain_points(self) -> int:
        """Fewest whole points of accuracy below the best at half of its energy or less; 0 where there is none."""
        best = self.points[np.argmin(self.points[:, 0])]
        half = self.points[self.points[:, 1] <= best[1] / 2]
        if not len(half):
            return 0
        return int(np.ceil(100 * (half[:, 0].min() - best[0]) - 1e-9))

    def is_bargain(self, error: float, kwh: float) -> bool:
        """Within ``bargain_points`` of the best accuracy at half of that architecture's energy or less."""
        best = self.points[np.argmin(self.points[:, 0])]
        return bool(error <= best[0] + self.bargain_points / 100 and kwh <= best[1] / 2)


class OutOfBudgetError(Exception):
    """The budget of evaluations is used up."""


@dataclass
class Recorder:
    """One search: what it evaluates, and what that costs."""

    problem: Problem
    seed: int
    trials: int
    ids: list[str] = field(default_factory=list)
    outcomes: list[tuple[float, float]] = field(default_factory=list)
    """Accuracy and joules of each training."""
    spent_kwh: list[float] = field(default_factory=list)
    extra_kwh: float = 0.0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 7])
        self._known: dict[str, tuple[float, float]] = {}

    def has(self, params: Mapping[str, Any]) -> bool:
        """Whether the table has the architecture."""
        return self.problem.space.architecture(params).id in self.problem.table.rows

    def evaluate(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Accuracy and joules of a training; of one that was done before, what it gave then, for nothing.

        One that the table does not have has no accuracy at the largest energy, and costs nothing.

        Raises:
            OutOfBudgetError: no training is left.
        """
        key = self.problem.space.architecture(params).id
        if key not in self._known:
            missing = 0.0, float(self.problem.points[:, 1].max() * KWH)
            self._known[key] = self.train(params) if self.has(params) else missing
        return self._known[key]

    def train(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Accuracy and joules of one more training.

        Raises:
            OutOfBudgetError: no training is left.
        """
        if len(self.ids) >= self.trials:
            raise OutOfBudgetError
        row = self.problem.table.draw(params, self._rng)
        assert row is not None, "only of architectures that the table has"
        joules = self.problem.table.energy_j(row)
        assert joules is not None
        self.ids.append(self.problem.space.architecture(params).id)
        self.spent_kwh.append((self.spent_kwh[-1] if self.spent_kwh else 0.0) + joules / KWH + self.extra_kwh)
        self.extra_kwh = 0.0
        self.outcomes.append((row["accuracy"], joules))
        return self.outcomes[-1]

    def probe(self, params: Mapping[str, Any], noise: float, share: float) -> float:
        """Joules of the training under relative noise, for a share of them."""
        row = self.problem.table.draw(params, self._rng)
        assert row is not None
        joules = self.problem.table.energy_j(row)
        assert joules is not None
        self.extra_kwh += share * joules / KWH
        return joules * float(np.exp(noise * self._rng.standard_normal()))

    def figures(self) -> dict[str, Any]:
        """Curves and figures of merit; None where something was not reached."""
        points = np.array([self.problem.truth[key] for key in self.ids])
        spent = np.array(self.spent_kwh)
        curves = {
            view: curve(self.problem.losses(points, view), reference) / self.problem.best_volumes[view]
            for view, reference in self.problem.references.items()
        }
        bargains = np.array([self.problem.is_bargain(*point) for point in points])
        found: dict[str, Any] = {view: curve.round(5).tolist() for view, curve in curves.items()}
        found["kwh"] = [float(f"{kwh:.6g}") for kwh in spent]
        reached = {
            "95": curves["tight"] >= 0.95,
            "99": curves["tight"] >= 0.99,
            "linear95": curves["linear"] >= 0.95,
            "linear99": curves["linear"] >= 0.99,
            "bargain": bargains,
            "loose99": curves["loose"] >= 0.99,
        }
        for name, there in reached.items():
            index = int(np.argmax(there)) if there.any() else None
            found[f"kwh_{name}"] = None if index is None else float(spent[index])
            found[f"trials_{name}"] = None if index is None else index + 1
        return found


def load(name: str, data: Path | None) -> Problem:
    """EC-NAS ``5V`` or ``4V``, 4 epochs; ``5V-108`` has so many; or one of ``OWN``, beside this file.

    Args:
        name: which.
        data: folder with EC-NAS's data; not needed for ``OWN``.

    Raises:
        DataError: the data cannot be read.
    """
    if own := OWN.get(name):
        table = read_table(own.file, load_space(str(own.space)), "train_energy_j")
        # Only repeats that every network has: else the mean of some would be surer than that of others.
        seeds = set.intersection(*({row["seed"] for row in rows} for rows in table.rows.values()))
        kept = {key: tuple(row for row in rows if row["seed"] in seeds) for key, rows in table.rows.items()}
        table = replace(table, rows=kept)
        title = f"{own.title}, Fashion-MNIST, {own.epochs} epochs"
        source = "modelled from CPU time on one core (measure.py)"
        return Problem(name, title, table, source, batch_size=64, input_shape=(1, 28, 28), device_type="cpu")
    if data is None:
        raise DataError(f"The table {name} is read from EC-NAS-Bench's data; give its folder with --data.")
    name, _, epochs = name.partition("-")
    table = read_ec_nas(data / "nasbench-data-4epochs.tar.gz", load_space("nasbench101", vertices=int(name[0])))
    source = "measured on an NVIDIA Quadro RTX 6000"
    if not epochs:
        return Problem(name, f"EC-NAS {name}, CIFAR-10, 4 epochs", table, source)
    table = longer(table, name, data / RUNS, int(epochs))
    title = f"EC-NAS {name}, CIFAR-10, {epochs} epochs, from published runs"
    return Problem(f"{name}-{epochs}", title, table, f"{source} over 4 epochs, scaled linearly")


def curve(losses: Array, reference: Array) -> Array:
    """Hypervolume after each point, (n,); only a point that is not dominated can change it."""
    volumes, front = [], np.zeros((0, losses.shape[1]))
    volume = 0.0
    for point in losses:
        if not np.any(np.all(front <= point, axis=1)):
            front = np.vstack([front[~np.all(point <= front, axis=1)], point])
            volume = hypervolume(front, reference)
        volumes.append(volume)
    return np.array(volumes)
