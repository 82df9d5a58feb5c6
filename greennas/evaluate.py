"""Run one task on this machine: train, probe, test or confirm networks with their energy measured."""

from __future__ import annotations

import gc
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from greennas.architecture import Params
from greennas.checkpoint import load_weights, read_checkpoint, write_checkpoint
from greennas.confirm import StepWindows
from greennas.data import Dataset
from greennas.energy import Kind, Meter, Reading, open_meter, total
from greennas.errors import GreenNASError
from greennas.measurement import METRICS, RUNG, EvaluationTask, Measurement, Probe
from greennas.space import SearchSpace, load_space
from greennas.trainer import Precision, RungReport, evaluate_accuracy, train, train_separately, training_steps
from greennas.training.batches import batches_of, evaluation_batch_size
from greennas.training.loop import STATISTICS_IMAGES, TrainingLoop, autocast, failures, reproducible
from greennas.training.weights import evaluating

__all__ = ["METRICS", "EvaluationTask", "Measurement", "Probe", "run_task"]

_MODELLED_SECONDS = 0.2
"""Shortest window of modelled energy that is worth reading; CPU time is counted finely."""
_COUNTER_SECONDS = 2.0
"""The same for hardware counters, which tick every 20-100 ms."""
_INFERENCE_IMAGES = 1024
_INFERENCE_BATCHES = 4
_CONFIRMED_IMAGES = 8192
_LATENCY_SECONDS = 0.3
_LATENCY_RUNS = (5, 100)


def run_task(task: EvaluationTask, on_rung: Callable[[RungReport], bool] | None = None) -> Measurement:
    """Do ``task`` and measure the energy of all of it.

    Whatever goes wrong with the network, its space or the data gives a failed measurement with its reason and with the
    joules drawn until then. A probe fails a candidate at a time.

    Args:
        task: what to do.
        on_rung: gets the report of each rung of a training; False stops it.

    Raises:
        GreenNASError: the energy of the device cannot be metered at all.
    """
    meter = open_meter(task.device, exclusive=task.exclusive, watts_per_core=task.watts_per_core)
    work = _Work(task, meter)
    try:
        with failures():
            if task.work == "train":
                return work.train(on_rung)
            if task.work == "confirm":
                return work.confirm()
            return work.probe() if task.work == "probe" else work.test()
    except Exception as error:
        return Measurement.failed(_reason(error), work.readings, _environment(task.device, None))
    finally:
        meter.close()
        if task.device.startswith("cuda"):  # a worker that lives on must not keep a failed network's memory
            gc.collect()
            torch.cuda.empty_cache()


class _Work:
    """A task being done, with the energy readings so far by phase."""

    def __init__(self, task: EvaluationTask, meter: Meter) -> None:
        self.task = task
        self.readings: dict[str, tuple[Reading, ...]] = {}
        self._meter = meter
        self._device = torch.device(task.device)
        modelled = all(source.kind is Kind.MODELLED for source in meter.describe())
        self._min_seconds = _MODELLED_SECONDS if modelled else _COUNTER_SECONDS
        self._notes: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Meter a part of the work; its readings are kept also when it raises."""
        window = None
        try:
            with self._meter.window() as window:
                yield
        finally:
            if window is not None:
                self.readings[name] = (*self.readings.get(name, ()), *window.readings)

    def train(self, on_rung: Callable[[RungReport], bool] | None) -> Measurement:
        """Train, evaluate, measure inference, write the checkpoint."""
        task = self.task
        with self.phase("overhead"):
            space, dataset = self._load(test=False)
            module = self._build(space, task.params, dataset)
            metrics = self._costs(space, module, dataset)
        before: list[RungReport] = []
        for rung in task.plan.separate_rungs:
            with self.phase("overhead"):
                other = self._build(space, task.params, dataset)
            before.append(
                train_separately(other, dataset, task.plan, rung, device=self._device, phase=self._separate_phase)
            )
            if on_rung is not None and not on_rung(before[-1]):
                return self._stopped(metrics, before, dataset)
        result = train(module, dataset, task.plan, device=self._device, on_rung=on_rung, phase=self.phase)
        metrics |= {"accuracy": result.accuracy, "loss": result.loss, "train_seconds": result.seconds}
        kinds: dict[str, Kind] = {}
        metrics["train_energy_j"], kinds["train_energy_j"] = total(self.readings["train"])
        if task.inference and not result.stopped:
            with self.phase("overhead"):
                batches = _inference_batches(dataset, self._device, result.microbatch)
                metrics["latency_ms"] = _latency_ms(module, batches[0][:1], result.precision)
            with self.phase("inference"):
                images = _infer(module, batches, result.precision, self._min_seconds)
            energy_j, kinds["inference_energy_j_per_1k"] = total(self.readings["inference"])
            metrics["inference_energy_j_per_1k"] = None if energy_j is None else 1000 * energy_j / images
        if task.checkpoint is not None and not result.stopped:
            with self.phase("overhead"):
                write_checkpoint(
                    task.checkpoint,
                    result.state_dict,
                    space.architecture(task.params),
                    dataset,
                    task.plan,
                    result.precision,
                    result.accuracy,
                )
        return Measurement(
            "ok",
            metrics=metrics,
            kinds=kinds,
            readings=self.readings,
            steps=result.steps,
            examples_seen=result.examples_seen,
            stopped_rung=result.rungs[-1].epoch if result.stopped else None,
            rungs=(*before, *result.rungs),
            environment={
                **_environment(task.device, result.precision),
                "runtime": result.runtime,
                "microbatch": result.microbatch,
            },
            notes=(*dataset.notes, *self._notes),
        )

    def _separate_phase(self, name: str) -> AbstractContextManager[None]:
        """As ``phase``; the steps of a rung's own training are none of the network's."""
        return self.phase(RUNG if name == "train" else name)

    def _stopped(
        self, metrics: dict[str, float | None], reports: Sequence[RungReport], dataset: Dataset
    ) -> Measurement:
        """Of a network that was stopped before its own training began."""
        last = reports[-1]
        return Measurement(
            "ok",
            metrics=metrics | {"accuracy": last.accuracy, "loss": last.loss},
            readings=self.readings,
            steps=last.steps,
            examples_seen=last.examples_seen,
            stopped_rung=last.epoch,
            rungs=tuple(reports),
            environment=_environment(self.task.device, None),
            notes=(*dataset.notes, *self._notes),
        )

    def test(self) -> Measurement:
        """Evaluate the checkpoint on the test split."""
        task = self.task
        assert task.checkpoint is not None
        with self.phase("overhead"):
            space, dataset = self._load(test=True)
            assert dataset.test is not None
            module = self._build(space, task.params, dataset)
            tensors, about = read_checkpoint(task.checkpoint)
            load_weights(module, tensors, task.checkpoint)
            precision: Precision = about["precision"]
            metrics = self._costs(space, module, dataset)
        with self.phase("evaluate"):
            accuracy, loss = evaluate_accuracy(module, dataset.test, dataset, device=self._device, precision=precision)
        return Measurement(
            "ok",
            metrics=metrics | {"accuracy": accuracy, "loss": loss},
            readings=self.readings,
            environment=_environment(task.device, precision),
            notes=tuple(self._notes),
        )

    def probe(self) -> Measurement:
        """Measure a few training steps of each candidate."""
        with self.phase("overhead"):
            space, dataset = self._load(test=False)
        probes = tuple(self._probe(space, params, dataset) for params in self.task.candidates)
        return Measurement(
            "ok", readings=self.readings, probes=probes, environment=_environment(self.task.device, None)
        )

    def _probe(self, space: SearchSpace, params: Params, dataset: Dataset) -> Probe:
        plan = self.task.plan
        before = len(self.readings.get("probe", ()))
        try:
            with failures():
                with self.phase("overhead"):
                    module = self._build(space, params, dataset)
                needed = self.task.probe_inference or self._min_seconds > _MODELLED_SECONDS
                done = training_steps(
                    module,
                    dataset,
                    plan,
                    self.task.probe_steps,
                    device=self._device,
                    min_seconds=self._min_seconds if needed else 0.0,
                    phase=self.phase,
                )
                inference = self._probe_inference(module, dataset, done.precision)
        except Exception as error:
            return Probe(params, reason=_reason(error))
        energy_j, kind = total(self.readings["probe"][before:])
        step_energy_j = None if energy_j is None else energy_j / done.steps
        step_seconds = done.seconds / done.steps
        steps = plan.steps(len(dataset.train))
        batch_size = min(plan.batch_size, len(dataset.train))
        evaluated = len(dataset.validation) + (min(STATISTICS_IMAGES, len(dataset.train)) if plan.ema else 0)
        times = len(plan.looks) + 1 + sum(rung.pixels(dataset.input_shape[2]) for rung in plan.separate_rungs)
        forwards = times * evaluated / batch_size
        return Probe(
            params,
            steps=done.steps,
            step_energy_j=step_energy_j,
            step_seconds=step_seconds,
            kind=kind,
            train_energy_j=None if step_energy_j is None else steps * step_energy_j,
            train_seconds=steps * step_seconds,
            evaluation_energy_j=None if step_energy_j is None else forwards * step_energy_j / 3,
            inference_energy_j_per_1k=inference[0],
            inference_seconds_per_1k=inference[1],
        )

    def _probe_inference(
        self, module: nn.Module, dataset: Dataset, precision: Precision
    ) -> tuple[float | None, float | None]:
        """Joules and seconds of 1,000 images, where they are asked for."""
        if not self.task.probe_inference:
            return None, None
        before = len(self.readings.get("inference", ()))
        with self.phase("overhead"):
            batches = _inference_batches(dataset, self._device)
            _infer(module, batches[:1], precision, 0.0)
        with self.phase("inference"):
            start = time.perf_counter()
            images = _infer(module, batches, precision, self._min_seconds)
            seconds = time.perf_counter() - start
        energy_j, _ = total(self.readings["inference"][before:])
        return None if energy_j is None else 1000 * energy_j / images, 1000 * seconds / images

    def confirm(self) -> Measurement:
        """Measure windows of training steps of all candidates, in turns."""
        with self.phase("overhead"):
            space, dataset = self._load(test=False)
            images = len(dataset.train)
            # Every network keeps its images ready; a step is the same step on a part of them.
            dataset = replace(dataset, train=dataset.train.first(_CONFIRMED_IMAGES))
            runs = []
            for params, plan in zip(self.task.candidates, self.task.plans, strict=True):
                with reproducible(self._device, plan.seed):
                    loop = TrainingLoop(self._build(space, params, dataset), dataset, plan, self._device)
                runs.append(StepWindows(loop, self._meter, plan.steps(images)))
            for run in runs:
                run.warm_up(min(self._min_seconds, self.task.window_s))
        for turn in range(self.task.repeats):
            first = turn % len(runs)  # another one begins each turn: what follows a hot one is not always the same
            for run in runs[first:] + runs[:first]:
                self.readings["confirm"] = (*self.readings.get("confirm", ()), *run.measure())
        return Measurement(
            "ok",
            readings=self.readings,
            confirmations=tuple(run.confirmation() for run in runs),
            environment=_environment(self.task.device, None),
        )

    def _load(self, test: bool) -> tuple[SearchSpace, Dataset]:
        space = load_space(self.task.space_file or self.task.space, **self.task.options)
        # A network is the same wherever its space's file lies.
        return replace(space, source=self.task.space), Dataset.load(self.task.data, test=test)

    def _build(self, space: SearchSpace, params: Params, dataset: Dataset) -> nn.Module:
        """The network with weights that depend on the plan's seed alone."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self.task.plan.seed)
            return space.build(params, dataset.input_shape, dataset.num_classes)

    def _costs(self, space: SearchSpace, module: nn.Module, dataset: Dataset) -> dict[str, float | None]:
        """The metrics that need no training; FLOPs stay unknown where a network cannot be walked."""
        metrics: dict[str, float | None] = dict.fromkeys(METRICS)
        try:
            metrics["flops"] = space.profile(self.task.params, dataset.input_shape, dataset.num_classes).total_flops
        except Exception as error:
            self._notes.append(f"The FLOPs are unknown, since the network cannot be profiled: {_reason(error)}")
        metrics["parameters"] = float(sum(parameter.numel() for parameter in module.parameters()))
        return metrics


def _inference_batches(dataset: Dataset, device: torch.device, microbatch: int | None = None) -> list[Tensor]:
    """Real images, normalised and on the device, so that only the network's own work is measured.

    ``microbatch`` is what fits, where it is known that memory is short.
    """
    size = evaluation_batch_size(device, dataset.input_shape)
    if microbatch is not None:
        size = min(size, microbatch)
    some = dataset.validation.first(min(_INFERENCE_IMAGES, _INFERENCE_BATCHES * size))
    return [images for images, _ in batches_of(some, dataset, size, device)]


def _infer(module: nn.Module, batches: Sequence[Tensor], precision: Precision, min_seconds: float) -> int:
    """Forward passes over ``batches``, again and again until ``min_seconds`` are over; the number of images."""
    device = batches[0].device
    images = 0
    start = time.perf_counter()
    with evaluating(module), torch.inference_mode(), autocast(device, precision):
        while True:
            for batch in batches:
                module(batch)
                images += len(batch)
                if device.type == "cpu" and time.perf_counter() - start >= min_seconds:
                    return images
            _synchronize(device)
            if time.perf_counter() - start >= min_seconds:
                return images


def _latency_ms(module: nn.Module, image: Tensor, precision: Precision) -> float:
    """Median milliseconds of forward passes of one image, after a few to warm up."""
    times: list[float] = []
    least, most = _LATENCY_RUNS
    with evaluating(module), torch.inference_mode(), autocast(image.device, precision):
        for _ in range(3):
            module(image)
        end = time.perf_counter() + _LATENCY_SECONDS
        while len(times) < least or (len(times) < most and time.perf_counter() < end):
            _synchronize(image.device)
            start = time.perf_counter()
            module(image)
            _synchronize(image.device)
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reason(error: Exception) -> str:
    """What went wrong; for errors that are not ours also where."""
    if isinstance(error, GreenNASError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if "/torch/" not in frame.filename] or frames
    place = f" (line {outside[-1].lineno} of {outside[-1].filename})" if outside else ""
    return f"{type(error).__name__}: {error}{place}"


def _environment(device: str, precision: Precision | None) -> Mapping[str, Any]:
    kind = torch.device(device).type
    return {
        "device": torch.cuda.get_device_name(device) if kind == "cuda" else platform.processor() or platform.machine(),
        "device_type": kind,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
