"""What a search works with: space, data and devices, and the sampler, executor and trainings that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from greennas.architecture import Params
from greennas.cluster.connection import Cluster
from greennas.config import SearchConfig
from greennas.data import Dataset
from greennas.data.dataset import SEARCH_FILE, TEST_FILE
from greennas.device_profile import DeviceProfile, DeviceProfileError, find, find_by_name
from greennas.energy import Meter, describe_devices, open_meter
from greennas.errors import ConfigError
from greennas.executors import Executor, LocalExecutor
from greennas.executors.limits import memory_share
from greennas.executors.tabular import PROBE_SHARE, TabularExecutor
from greennas.measurement import EvaluationTask
from greennas.sampler import GreenSampler
from greennas.sampler.candidates import CandidateFactory
from greennas.sampler.mirrored import MirroredSampler
from greennas.space import InputShape, SearchSpace
from greennas.tabular import Table
from greennas.trainer import TrainingPlan


@dataclass(frozen=True)
class Setup:
    """What a search works with.

    Attributes:
        config: its settings.
        space: the search space with its options.
        dataset: the images, test split included; workers get it through files. None where a table is replayed.
        devices: one a worker.
        table: what trainings are looked up in; None where networks are trained.
        cluster: where Ray runs the trainings; None where this machine does.
    """

    config: SearchConfig
    space: SearchSpace
    dataset: Dataset | None
    devices: tuple[str, ...]
    table: Table | None = None
    cluster: Cluster | None = None

    def close(self) -> None:
        """Leave the cluster, if there is one."""
        if self.cluster is not None:
            self.cluster.close()

    @property
    def exclusive(self) -> bool:
        """Whether one training at a time runs on a machine."""
        return len(self.devices) == 1 if self.cluster is None else self.cluster.alone

    @property
    def device_kinds(self) -> list[str]:
        """Names of the kinds of devices that networks are trained on."""
        if self.cluster is not None:
            return self.cluster.kinds
        found = describe_devices()
        return [found["cpu"]["model"]] if self.devices[0] == "cpu" else sorted({gpu["name"] for gpu in found["gpus"]})

    @property
    def device_type(self) -> str:
        """``cuda`` or ``cpu``: what networks are, or were, trained on."""
        table = self.config.table
        return torch.device(self.devices[0]).type if table is None else table.device_type

    def meters(self) -> list[Meter]:
        """Meters for all that a session of the search draws on this machine, for the caller to close."""
        watts = self.config.energy.watts_per_core
        if self.cluster is not None:  # the workers are no children of this process, and on other machines
            return [open_meter("cpu", exclusive=False, watts_per_core=watts, children=False)]
        return [open_meter(device, exclusive=True, watts_per_core=watts) for device in sorted(set(self.devices))]

    @property
    def images(self) -> Dataset:
        """The images of a search that trains."""
        if self.dataset is None:
            raise ConfigError("A table is replayed here and nothing is trained; leave out --table to train networks.")
        return self.dataset

    @property
    def input_shape(self) -> InputShape:
        """Channels, height and width of an image."""
        table = self.config.table
        return self.images.input_shape if table is None else table.input_shape

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        table = self.config.table
        return self.images.num_classes if table is None else table.num_classes

    @property
    def epochs(self) -> int | None:
        """Passes over the train split of a whole training; None where a table does not say."""
        return self.config.training.epochs if self.table is None else self.table.epochs

    @property
    def data_facts(self) -> dict[str, Any]:
        """What the networks are trained on, or looked up in."""
        if self.table is not None:
            table = self.table
            skipped = sum(table.skipped.values())
            facts: dict[str, Any] = {
                "architectures": len(table),
                "rows": sum(map(len, table.rows.values())),
                "skipped": skipped,
            }
            facts["skipped_because"] = next(iter(table.skipped), None)
            notes = ["Replayed from a table: its joules were spent where it was made."]
            return {"name": table.name, **facts, "energy_column": table.energy, "notes": notes}
        data = self.images
        return {
            "name": data.name,
            "input_shape": list(data.input_shape),
            "classes": data.num_classes,
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test) if data.test is not None else 0,
            "notes": list(data.notes),
        }

    def save_data(self, directory: Path) -> None:
        """Write the images for the workers, where there are any."""
        if self.dataset is not None:
            self.dataset.save(directory)

    def plan(self, params: Params) -> TrainingPlan:
        """The training of one network: the settings, else what the space suggests, else the defaults."""
        settings = self.config.training
        suggested = self.space.training(params)
        chosen = {
            name: getattr(settings, name) if getattr(settings, name) is not None else suggested.get(name)
            for name in ("batch_size", "learning_rate")
        }
        on_cpu = self.devices[0] == "cpu"
        precision = "float32" if settings.precision == "auto" and on_cpu else settings.precision
        # Larger batches than an eighth of the data would leave an epoch without steps to learn in.
        default = TrainingPlan(epochs=settings.epochs)
        batch_size = chosen["batch_size"] or default.batch_size
        if self.dataset is not None and not chosen["batch_size"]:
            batch_size = max(2, min(default.batch_size, len(self.dataset.train) // 8))
        return TrainingPlan(
            epochs=settings.epochs,
            batch_size=batch_size,
            microbatch=settings.microbatch,
            optimizer=settings.optimizer,
            learning_rate=chosen["learning_rate"] or default.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            label_smoothing=settings.label_smoothing,
            ema=settings.ema,
            augment=settings.augment,
            schedule=settings.schedule,
            precision=precision,
            runtime=settings.runtime,
            seed=self.config.seed,
            rungs=settings.ordered_rungs,
        )

    def task(self, work: str, data: Path, params: Params | None = None, **fields: object) -> EvaluationTask:
        """An evaluation task of this search; ``fields`` are further fields of ``EvaluationTask``."""
        return EvaluationTask(
            work=work,  # type: ignore[arg-type]
            space=self.space.source,
            options=dict(self.space.options),
            data=str(data),
            params=dict(params or {}),
            exclusive=self.exclusive,
            watts_per_core=self.config.energy.watts_per_core,
            **fields,  # type: ignore[arg-type]
        )

    def candidates(self) -> CandidateFactory:
        """A maker of candidates for these images."""
        return CandidateFactory(self.space, self.input_shape, self.num_classes, self._batch_size())

    def calibration(self) -> tuple[DeviceProfile | None, str | None]:
        """This device's saved profile, if there is one that can be read, and a sentence about it."""
        try:
            reference = self.config.cluster.normalise_to or next(iter(self.device_kinds), "")
            found = find(self.devices[0]) if self.cluster is None else find_by_name(reference)
        except DeviceProfileError as error:
            return None, f"{error} The search goes on without it."
        if found is None:
            return None, None
        return found, (
            f"Energy predictions begin with this device's profile of {found.about.get('made', 'unknown date')} "
            f"({len(found.networks)} networks, {found.kind})."
        )

    def sampler(self, calibration: DeviceProfile | None = None) -> GreenSampler:
        """The search strategy for these settings, with what a device profile knows."""
        screen = self.config.screen
        options: dict[str, Any] = {
            "input_shape": self.input_shape,
            "num_classes": self.num_classes,
            "batch_size": self._batch_size(),
            "seed": self.config.seed,
            "initial": min(screen.initial, self.config.trials),
            "pool": screen.pool,
            "shortlist": screen.shortlist,
            "priors": calibration.predictors if calibration else None,
            "device_type": self.device_type,
            **self.config.constraints.model_dump(),
        }
        name = self.config.sampler
        if name == "green":
            return GreenSampler(self.space, self.config.metrics, **options)
        return MirroredSampler(self.space, self.config.metrics, name=name, screen=screen.predict, **options)

    def executor(self, results: Path, data: Path | None = None, workers: int | None = None) -> Executor:
        """Workers that leave their results in the folder ``results``; or the table.

        Args:
            results: folder.
            data: folder that ``save_data`` has written, for other machines.
            workers: at most so many; None for those of the settings.
        """
        limits = self.config.limits
        memory = None if limits.memory_gb is None else int(limits.memory_gb * 1e9)
        replay = None
        if self.table is not None:
            speedup = self.config.table.speedup if self.config.table else None
            replay = TabularExecutor(self.table, len(self.devices[:workers]), self.config.seed, speedup)
        if self.cluster is not None:
            from greennas.cluster.node import Plant
            from greennas.executors.ray import RayExecutor

            plant = Plant(
                space=self.space.source if self.space.source.endswith(".py") else None,
                seconds=limits.seconds,
                memory_bytes=memory,
                watts_per_core=self.config.energy.watts_per_core,
                devices=tuple(self.device_kinds),
                exchange=self.cluster.exchange,
                shared=self.cluster.shared,
            )
            return RayExecutor(
                self.cluster,
                results,
                plant,
                workers=workers or self.config.workers,
                data=(data / SEARCH_FILE, data / TEST_FILE) if data is not None and replay is None else None,
                replay=replay.look_up if replay is not None else None,
            )
        if replay is not None:
            return replay
        return LocalExecutor(
            self.devices[:workers],
            results,
            memory_bytes=memory if memory is not None else memory_share(len(self.devices)),
            seconds=limits.seconds,
            watts_per_core=self.config.energy.watts_per_core,
        )

    def probes(self, plan: TrainingPlan) -> int:
        """How many candidates may be probed before one choice, by the share of a training that probes may cost."""
        screen = self.config.screen
        if screen.probe_steps == 0:
            return 0
        if self.table is not None:
            return 0 if self.table.energy is None else min(screen.shortlist, int(screen.probe_share / PROBE_SHARE))
        steps = plan.steps(len(self.images.train))
        # One step more for the warm-up, and about one for building the network.
        return min(screen.shortlist, int(screen.probe_share * steps / (screen.probe_steps + 2)))

    def _batch_size(self) -> int:
        return self.config.training.batch_size or TrainingPlan().batch_size
