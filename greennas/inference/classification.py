"""Energy and latency of image classifiers by batch size, precision, runtime and compression, metered in turns."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from greennas.data import AnySplit, Dataset
from greennas.energy import Meter, open_meter
from greennas.energy.benchmark import Benchmark
from greennas.errors import ConfigError, GreenNASError, bare_reason
from greennas.inference.classification_report import InferenceReport, InferenceRow, VariantFacts
from greennas.inference.environment import check_device, environment
from greennas.inference.runtimes import Runner
from greennas.inference.targets import Target
from greennas.inference.variant import COMPRESSIONS, PRECISIONS, RUNTIMES, Variant
from greennas.inference.windows import Figure, Timed, WindowPlan, in_turns, quantile
from greennas.inference.workshop import Compression, Workshop
from greennas.training.batches import batches_of, evaluation_batch_size

_BATCHES = 8
"""Different batches that are run in turn: never the same one again and again."""
_P99_CALLS = 100


def bench_classifiers(
    targets: Sequence[Target],
    *,
    batch_sizes: Sequence[int] = (1, 32),
    compressions: Sequence[str] = COMPRESSIONS,
    runtimes: Sequence[str] = RUNTIMES,
    precisions: Sequence[str] = PRECISIONS,
    split: Literal["validation", "test"] = "validation",
    compression: Compression | None = None,
    device: str = "cpu",
    plan: WindowPlan | None = None,
    meter: Meter | None = None,
    save: Path | None = None,
    on_step: Callable[[int, int, str], None] | None = None,
) -> InferenceReport:
    """Meter every combination of what is given that runs here, all of them in turns.

    The baseline of the ratios is the first network as it is, in eager float32, at the same batch size: it always runs.

    Args:
        targets: networks, side by side; a distilled one is one of these.
        batch_sizes: images in a call.
        compressions: of ``greennas.inference.variant.COMPRESSIONS``.
        runtimes: of ``RUNTIMES``.
        precisions: of ``PRECISIONS``.
        split: what accuracies are of.
        compression: how networks are pruned and fine-tuned.
        device: as torch names it.
        plan: the windows.
        meter: what to read (default: the best one for the device).
        save: folder that keeps the ONNX models (default: none is kept).
        on_step: told what is being done, as (done, at most, what).

    Raises:
        ConfigError: an unknown word, networks of the same name, or a baseline that does not run.
    """
    plan, told = plan or WindowPlan(), on_step or (lambda done, most, what: None)
    check_device(device)
    _check(targets, batch_sizes, compressions, runtimes, precisions)
    own = meter or open_meter(device)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = save if save is not None else Path(temporary)
            _make(folder)
            how = compression or Compression()
            workshops = {target.name: Workshop(target, device, own, folder, how) for target in targets}
            variants = [Variant(targets[0].name)]
            variants += [Variant(*each) for each in itertools.product(workshops, compressions, runtimes, precisions)]
            bench = _Bench(workshops, split, batch_sizes, own)
            variants = list(dict.fromkeys(variants))
            for position, variant in enumerate(variants):
                told(position, len(variants), str(variant))
                bench.add(variant)
            found = in_turns(bench.functions, own, plan, lambda done, most: told(done, most, "turns of all variants"))
    finally:
        if meter is None:
            own.close()
    return InferenceReport(
        rows=bench.rows(found, plan),
        facts=tuple(bench.facts.values()),
        unavailable=tuple(bench.unavailable),
        preparations=tuple(each for workshop in workshops.values() for each in workshop.preparations),
        data={target.name: target.dataset.name if target.dataset else None for target in targets},
        split=split,
        plan=plan,
        environment=environment(device, ("onnxruntime", "torchao", "torch-pruning")),
        notes=tuple(_notes(targets)),
    )


class _Bench:
    """The variants that run, ready to be metered."""

    def __init__(self, workshops: dict[str, Workshop], split: str, batch_sizes: Sequence[int], meter: Meter) -> None:
        self.facts: dict[Variant, VariantFacts] = {}
        self.unavailable: list[tuple[str, str]] = []
        self.functions: dict[str, Timed] = {}
        self._cells: list[tuple[Variant, int]] = []
        self._workshops = workshops
        self._split = split
        self._meter = meter
        self._inputs: dict[tuple[str, int, str], list[Any]] = {}
        self._batch_sizes = batch_sizes
        self._classes: dict[str, Tensor] = {}

    def add(self, variant: Variant) -> None:
        """Make a variant, evaluate it, and get its functions ready; or note why that cannot be."""
        workshop = self._workshops[variant.model]
        try:
            runner = workshop.runner(variant)
            functions = {size: self._function(runner, variant.model, size) for size in self._batch_sizes}
            if variant.runtime == "compile":
                with workshop.metered(f"{variant}: compilation"):
                    _call_once(functions)
            else:
                _call_once(functions)
            facts = self._evaluated(variant, runner, workshop)
        except Exception as error:  # compilers, runtimes and networks raise whatever they like
            if not self.facts:  # the baseline
                raise ConfigError(
                    f"{variant}, to which all is compared, does not run ({_reason(error).rstrip('.')}); mend the "
                    "network, or give the shape of its images with --input-shape."
                ) from error
            self.unavailable.append((str(variant), _reason(error)))
            return
        self.facts[variant] = facts
        for size, function in functions.items():
            self._cells.append((variant, size))
            self.functions[f"{variant}, batch {size}"] = function

    def rows(self, found: dict[str, Benchmark], plan: WindowPlan) -> tuple[InferenceRow, ...]:
        """A row for each variant and batch size, by batch size."""
        rows = []
        baseline = self._cells[0][0]
        for variant, size in sorted(self._cells, key=lambda cell: self._batch_sizes.index(cell[1])):
            name = f"{variant}, batch {size}"
            row = _row(variant, size, found[name], self.functions[name], plan)
            first = found[f"{baseline}, batch {size}"]
            if (first.kind, first.component) == (row.kind, row.component):
                row = replace(row, ratio=Figure.ratio(found[name].each_j, first.each_j, plan.confidence))
            rows.append(row)
        return tuple(rows)

    def _function(self, runner: Runner, model: str, size: int) -> Timed:
        key = (model, size, runner.layout)
        if key not in self._inputs:
            batches = self._workshops[model].batches(size, _BATCHES)
            self._inputs[key] = [runner.prepare(batch) for batch in batches]
        images = itertools.cycle(self._inputs[key])
        return Timed(lambda: runner.run(next(images)), self._meter.synchronize)

    def _evaluated(self, variant: Variant, runner: Runner, workshop: Workshop) -> VariantFacts:
        parameters = sum(parameter.numel() for parameter in workshop.module(variant.compression).parameters())
        dataset = workshop.target.dataset
        accuracy = agreement = None
        if dataset is not None:
            part = dataset.test if self._split == "test" else dataset.validation
            assert part is not None  # load_data gives both
            # torch.compile compiles for each batch size: it gets none of its own to be evaluated in.
            size = (
                max(self._batch_sizes)
                if variant.runtime == "compile"
                else evaluation_batch_size(torch.device("cpu"), part.image_shape)
            )
            predicted = _predicted(runner, part, dataset, size)
            if variant == Variant(variant.model):
                self._classes[variant.model] = predicted
            accuracy = _share(predicted == part.labels)
            if variant.model in self._classes:
                agreement = _share(predicted == self._classes[variant.model])
        return VariantFacts(variant, accuracy, agreement, parameters, runner.weight_bytes)


def _share(mask: Tensor) -> float:
    return int(mask.sum()) / len(mask)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({bare_reason(error)}); choose another --save.") from error


def _call_once(functions: Mapping[int, Callable[[], object]]) -> None:
    for function in functions.values():
        function()


def _predicted(runner: Runner, part: AnySplit, dataset: Dataset, size: int) -> Tensor:
    """Class of each image of a split, (N,), in batches that are all of one size: the last one is filled up."""
    found = []
    for images, labels in batches_of(part, dataset, size, torch.device("cpu")):
        missing = images.new_zeros(size - len(images), *images.shape[1:])
        found.append(runner.classify(torch.cat([images, missing]))[: len(labels)].argmax(dim=1))
    return torch.cat(found)


def _row(variant: Variant, size: int, found: Benchmark, function: Timed, plan: WindowPlan) -> InferenceRow:
    calls = sum(found.calls)
    times_ms = function.last_ms(calls)
    seconds = sum(reading.seconds for reading in found.readings)
    bounds = found.bounds_j
    return InferenceRow(
        variant=variant,
        batch_size=size,
        component=found.component,
        kind=found.kind,
        image_j=Figure.of([joules / size for joules in found.each_j], plan.confidence),
        bounds_image_j=(bounds[0] / size, bounds[1] / size) if bounds else None,
        ratio=None,
        images_per_s=size * calls / seconds,
        latency_p50_ms=quantile(times_ms, 0.5) or 0.0,
        latency_p99_ms=quantile(times_ms, 0.99, _P99_CALLS),
        calls=calls,
        windows=len(found.readings),
        window_s=seconds / len(found.readings),
        shared=any(reading.shared for reading in found.readings),
    )


def _check(
    targets: Sequence[Target],
    batch_sizes: Sequence[int],
    compressions: Sequence[str],
    runtimes: Sequence[str],
    precisions: Sequence[str],
) -> None:
    if not targets or not batch_sizes or min(batch_sizes) < 1:
        raise ConfigError("A benchmark needs a network and batch sizes of 1 or more.")
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise ConfigError(f"Two networks are called the same ({', '.join(names)}); rename a folder.")
    for what, words, known in (
        ("compression", compressions, COMPRESSIONS),
        ("runtime", runtimes, RUNTIMES),
        ("precision", precisions, PRECISIONS),
    ):
        if unknown := [word for word in words if word not in known]:
            raise ConfigError(f"There is no {what} {unknown[0]!r}; choose of {', '.join(known)}.")


def _notes(targets: Sequence[Target]) -> list[str]:
    notes = [f"{target.name}: {note}" for target in targets if target.dataset for note in target.dataset.notes]
    unknown = [target.name for target in targets if target.dataset is None]
    if unknown:
        notes.append(
            f"{', '.join(unknown)}: measured on normal noise, since no data is known; the accuracy is unknown."
        )
    return notes


def _reason(error: Exception) -> str:
    if isinstance(error, GreenNASError):
        return str(error)
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
