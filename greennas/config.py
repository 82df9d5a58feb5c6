"""The settings of a search: defaults, checks, and where they come from (file, ``key=value``, command line)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from greennas.cluster.settings import ClusterSettings
from greennas.data.settings import DataSettings
from greennas.errors import ConfigError, bare_reason
from greennas.grid import Grid, country_grid, find_grid
from greennas.storage import without_password
from greennas.training.rung import Rung, RungSetting

Direction = Literal["max", "min"]
METRICS: dict[str, Direction] = {
    "accuracy": "max",
    "train_energy_j": "min",
    "inference_energy_j_per_1k": "min",
    "latency_ms": "min",
    "flops": "min",
    "parameters": "min",
}
"""What a training records and a search may optimise, with the usual direction."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Objective(_Settings):
    """One objective: the name of a metric and whether it is maximised or minimised."""

    metric: str
    direction: Direction

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read ``accuracy:max`` or ``accuracy`` (its usual direction)."""
        metric, _, direction = text.strip().partition(":")
        if metric not in METRICS and not direction:
            raise ValueError(
                f"there is no metric {metric!r}; choose two or three of {', '.join(METRICS)} "
                f"(a table's column needs its direction, as in {metric or 'error'}:min)"
            )
        if direction not in ("", "max", "min"):
            raise ValueError(f"the direction of {metric} is {direction!r}; write {metric}:max or {metric}:min")
        return cls(metric=metric, direction="max" if (direction or METRICS[metric]) == "max" else "min")

    def __str__(self) -> str:
        return f"{self.metric}:{self.direction}"


class TableSettings(_Settings):
    """A tabular benchmark to replay the search on, in place of trainings; see ``greennas.tabular.read_table``."""

    file: Path
    energy: str | None = None
    """Column with what a training cost, its unit at the end of its name; None: the likeliest energy column."""
    epochs: int | None = Field(default=None, ge=1)
    """Which budget of NAS-Bench-101 or EC-NAS-Bench; None: the longest."""
    input_shape: tuple[int, int, int] = (3, 32, 32)
    """Channels, height and width of the images that the table's networks were trained on, for their cost profiles."""
    num_classes: int = Field(default=10, ge=1)
    device_type: Literal["cuda", "cpu"] = "cuda"
    """What they were trained on: where predictions of their energy begin."""
    speedup: float | None = Field(default=None, gt=0)
    """How much faster than it was a training is replayed; None: it is done at once."""


class TrainingSettings(_Settings):
    """How each candidate is trained; what is None is taken from the space's suggestion, else the default."""

    epochs: int = Field(default=4, ge=1)
    rungs: tuple[RungSetting, ...] = ()
    """Budgets after which a network has to be among the better half to get more."""
    batch_size: int | None = Field(default=None, ge=2)
    microbatch: int | None = Field(default=None, ge=2)
    """Images whose gradients are computed at once; None: the batch, and less of it where memory runs out."""
    optimizer: Literal["sgd", "muon"] = "sgd"
    learning_rate: float | None = Field(default=None, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    ema: bool = True
    augment: bool = False
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    """onecycle and cosine end at a learning rate of 0, which makes the most of few epochs; they have no rungs."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: what a long search measures to be quicker; else bfloat16 on a GPU that has it, float32 elsewhere."""
    runtime: Literal["auto", "eager", "graph", "compile"] = "auto"
    """auto: what is predicted to be quickest, see ``greennas.training.runtime.quickest``."""

    @field_validator("rungs", mode="before")
    @classmethod
    def _nothing_is_no_rungs(cls, value: object) -> object:
        return () if value is None else value  # ``rungs:`` with nothing behind it

    @model_validator(mode="after")
    def _rungs_below_epochs(self) -> TrainingSettings:
        looks = [rung.epochs for rung in self.rungs if not rung.separate]
        if any(rung >= self.epochs for rung in looks):
            raise ValueError(f"rungs {looks} have to lie between 1 and epochs - 1 = {self.epochs - 1}")
        if self.rungs and self.schedule != "constant":
            raise ValueError(f"rungs need schedule: constant, since accuracies on the way of {self.schedule} mislead")
        return self

    @property
    def ordered_rungs(self) -> tuple[Rung, ...]:
        """The rungs as a network comes to them: trainings of their own in their order, then looks at the training."""
        return tuple(sorted(dict.fromkeys(self.rungs), key=lambda rung: 0 if rung.separate else rung.epochs))


class ScreenSettings(_Settings):
    """How candidates are proposed and left out before they are trained."""

    initial: int = Field(default=4, ge=1)
    """Trainings of the initial design, log-spaced in predicted energy from the cheapest to the median."""
    pool: int = Field(default=400, ge=8)
    """Candidates proposed before each choice; twice as many from 100 trainings on, three times from 150 on."""
    shortlist: int = Field(default=8, ge=1)
    """The most promising of the pool, which compete for the training."""
    probe_steps: int = Field(default=2, ge=0)
    """Measured steps of an energy probe; 0 switches probes off."""
    probe_share: float = Field(default=0.1, ge=0, le=1)
    """Probes before one choice may cost this share of the training that they decide on."""
    predict: bool = True
    """Choose among several proposals by prediction; false trains every proposal of one of Optuna's samplers."""
    keep: float = Field(default=0.5, gt=0, le=1)
    """Share of the trainings that a rung lets go on."""


class EnergySettings(_Settings):
    """How energy is accounted for."""

    watts_per_core: tuple[float, float, float] | None = None
    """Low, mid and high watts of one busy core, where no counter can be read; None: the documented band."""
    grid_intensity_g_per_kwh: float | None = Field(default=None, gt=0)
    """For gCO2e; None: that of ``country``, or no gCO2e."""
    country: str | None = None
    """Country of the grid, by ISO 3166 code or English name: its yearly mean out of the bundled table."""
    pue: float = Field(default=1.0, ge=1)
    confirm: int = Field(default=5, ge=0)
    """Windows in which the training energy of each network of the final front is measured again; 0: it is not."""
    confirm_share: float = Field(default=0.1, gt=0, le=1)
    """These windows may take this share of the time that all trainings took; they get shorter if need be."""

    @field_validator("country", mode="before")
    @classmethod
    def _known_country(cls, value: Any) -> str | None:
        if value is None:
            return None
        try:
            return country_grid("NO" if value is False else str(value)).code  # YAML reads Norway's code as false
        except ConfigError as error:
            raise ValueError(str(error).removesuffix(".")) from error

    @property
    def grid(self) -> Grid | None:
        """The grid's carbon intensity; None if nothing was given."""
        grid = country_grid(self.country) if self.country is not None else None
        if self.grid_intensity_g_per_kwh is None:
            return grid
        given = find_grid(self.grid_intensity_g_per_kwh)
        return replace(given, location=grid.location, code=grid.code) if grid else given

    @field_validator("confirm")
    @classmethod
    def _an_interval_takes_two(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one repeat has no interval; take 2 or more, or 0 to leave it out")
        return value


class ConstraintSettings(_Settings):
    """What a network has to keep to be on the front; None: free."""

    max_energy_j: float | None = Field(default=None, gt=0)
    """Of the training."""
    min_accuracy: float | None = Field(default=None, gt=0, lt=1)
    max_latency_ms: float | None = Field(default=None, gt=0)
    max_parameters: int | None = Field(default=None, gt=0)


class LimitSettings(_Settings):
    """What one training may use."""

    memory_gb: float | None = Field(default=None, gt=0)
    """None: 80% of the machine's memory, divided by the workers."""
    seconds: float = Field(default=1800.0, gt=0)
    margin: float = Field(default=5.0, ge=1)
    """A training may take so many times the time that it is predicted to take, and a minute."""

    def seconds_for(self, predicted_s: float) -> float:
        """Longest duration of a training that is predicted to take ``predicted_s``; infinite where nothing is known."""
        return min(self.seconds, 60.0 + self.margin * predicted_s)


QUICK_START: dict[str, Any] = {"space_options": {"width": 4, "depth": 1}, "training": {"epochs": 12}}
"""Skeleton and epochs that suit 8x8 images, where neither is given for the default space and data."""


class SearchConfig(_Settings):
    """Everything that a search depends on; written to ``config.yaml`` as resolved."""

    space: str = "nasbench201"
    space_options: dict[str, Any] = {}
    data: DataSettings = DataSettings()
    table: TableSettings | None = None
    """None: networks are trained."""
    objectives: tuple[Objective, ...] = (Objective.parse("accuracy"), Objective.parse("train_energy_j"))
    trials: int = Field(default=24, ge=1)
    energy_budget_j: float | None = Field(default=None, gt=0)
    time_budget_s: float | None = Field(default=None, gt=0)
    workers: int | None = Field(default=None, ge=1)
    """None: one a GPU, or without a GPU one a core; on Ray as many as the cluster has room for."""
    executor: Literal["local", "ray"] = "local"
    """Who runs the trainings: processes of this machine, or Ray Tune."""
    cluster: ClusterSettings = ClusterSettings()
    storage: str | None = None
    """URL of the database that holds the study, its password apart; None: the run folder does."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    sampler: Literal["green", "tpe", "nsga2", "nsga3", "gp", "random"] = "green"
    """Who proposes: GreenNAS's own strategy, or one of Optuna's samplers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    training: TrainingSettings = TrainingSettings()
    screen: ScreenSettings = ScreenSettings()
    energy: EnergySettings = EnergySettings()
    constraints: ConstraintSettings = ConstraintSettings()
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="before")
    @classmethod
    def _quick_start(cls, given: Any) -> Any:
        data, training = given.get("data", "digits"), given.get("training", {})
        name = data.get("name", "digits") if isinstance(data, Mapping) else data
        chosen = given.get("table"), given.get("space", "nasbench201"), name
        # A group that is not one by mistake goes on as it is, to be named with the other errors.
        if chosen != (None, "nasbench201", "digits") or not isinstance(training, Mapping):
            return given
        return QUICK_START | given | {"training": QUICK_START["training"] | training}

    @field_validator("storage")
    @classmethod
    def _password_apart(cls, value: str | None) -> str | None:
        return None if value is None else without_password(value)

    @field_validator("data", mode="before")
    @classmethod
    def _data_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("table", mode="before")
    @classmethod
    def _table_by_file(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str | Path) else value

    @field_validator("objectives", mode="before")
    @classmethod
    def _objectives_from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = value.split(",")
        if isinstance(value, Sequence):
            value = [Objective.parse(item) if isinstance(item, str) else item for item in value]
        return value

    @field_validator("objectives")
    @classmethod
    def _two_or_three(cls, value: tuple[Objective, ...]) -> tuple[Objective, ...]:
        names = [objective.metric for objective in value]
        if not 2 <= len(names) <= 3 or len(set(names)) != len(names):
            raise ValueError(f"give two or three different objectives out of {', '.join(METRICS)}")
        return value

    @model_validator(mode="after")
    def _green_predicts(self) -> SearchConfig:
        if self.sampler == "green" and not self.screen.predict:
            raise ValueError("the sampler green chooses by prediction; set another sampler with screen.predict=false")
        return self

    @model_validator(mode="after")
    def _known_metrics(self) -> SearchConfig:
        unknown = [objective.metric for objective in self.objectives if objective.metric not in METRICS]
        if self.table is None and unknown:
            raise ValueError(f"there is no metric {unknown[0]!r}; choose two or three of {', '.join(METRICS)}")
        return self

    @property
    def metrics(self) -> list[str]:
        """Names of the objectives' metrics, in order."""
        return [objective.metric for objective in self.objectives]

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Directions of the objectives as Optuna spells them."""
        return ["maximize" if objective.direction == "max" else "minimize" for objective in self.objectives]

    def to_yaml(self) -> str:
        """The settings as YAML, read back by ``load_config``."""
        plain = self.model_dump(mode="json")
        plain["objectives"] = [str(objective) for objective in self.objectives]
        return yaml.safe_dump(plain, sort_keys=False)


def load_config(
    file: str | Path | None = None,
    assignments: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> SearchConfig:
    """Merge defaults, a YAML file, ``key=value`` assignments and overrides; the later wins.

    Args:
        file: YAML with the fields of ``SearchConfig``.
        assignments: for example ``["training.epochs=8", "space_options.width=8"]``; values are YAML.
        overrides: dotted names to values; those that are None are left out.

    Raises:
        ConfigError: an unknown key, a value out of range, or a file that cannot be read.
    """
    merged: dict[str, Any] = {}
    if file is not None:
        merged = _read_yaml(Path(file))
    for key, parsed in parse_assignments(assignments):
        _assign(merged, key, parsed)
    for key, value in (overrides or {}).items():
        if value is not None:
            _assign(merged, key, value)
    try:
        return SearchConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None


def parse_assignments(assignments: Sequence[str]) -> list[tuple[str, Any]]:
    """Names and values of ``["training.epochs=8", ...]``; values are YAML.

    Raises:
        ConfigError: no ``=``, or a value that is not YAML.
    """
    parsed = []
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set {assignment!r} is not key=value; write for example --set training.epochs=8.")
        try:
            parsed.append((key.strip(), yaml.safe_load(value)))
        except yaml.YAMLError as error:
            raise ConfigError(f"The value in --set {assignment!r} is not valid YAML; quote it.") from error
    return parsed


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} cannot be read ({bare_reason(error)}); check the path.") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        raise ConfigError(f"The configuration {path} is not valid YAML{line}; mend it.") from error
    if not isinstance(content, dict | None):
        raise ConfigError(f"The configuration {path} has to hold settings by name, as in 'trials: 40'.")
    return dict(content or {})


def _assign(target: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        child = target.get(parent)
        if not isinstance(child, dict):
            by_name = {"data": "name", "table": "file"}.get(parent)
            child = {by_name: child} if by_name and isinstance(child, str) else {}
            target[parent] = child
        target = child
    target[last] = value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"There is no setting {where!r}; see 'greennas search --help' or docs/configuration.md for the names."
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "tuple_type":  # YAML has no tuples
        message = "it has to be a list, in square brackets"
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) and where != "storage" else ""
    if not where:  # what several settings say together
        return f"These settings do not fit together: {message}."
    return f"The setting {where}{shown} is not valid: {message}."
