"""GreenNAS's short trainings beside the loop that search tools use, on the same networks and images, in turns.

    python benchmarks/training.py [--device cuda] [--data fashion-mnist] [--data-dir DIR] [--seeds 10] [--epochs 4]

The plain loop is the one of DARTS, NAS-Bench-201 and NNI's examples: a DataLoader with worker processes, PIL transforms
image by image (to tensor, normalise; with ``--augment`` crop and flip), float32, NCHW, SGD with momentum, weight decay
and a cosine schedule, the loss read after every step. Its learning rate is ``--plain-rate``, its batch
``--plain-batch``. Both train on one compute thread; the loader's workers come on top. All from the untrained network to
its accuracy counts, with one evaluation at the end. Both keep freed memory in the process, as a search's workers do.

"To the same accuracy": the mean over the seeds that the plain loop ends with after ``--epochs`` epochs. GreenNAS trains
1, 2, ... epochs by each of ``RECIPES`` until its mean is no lower. What the first that get there took is compared.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from greennas.architecture import Params
from greennas.data import Dataset, Split, load_data
from greennas.energy import Kind, Meter, open_meter, total
from greennas.sampler.candidates import ReplayTrial
from greennas.space import SearchSpace, load_space
from greennas.trainer import TrainingPlan, train
from greennas.training.memory import keep_freed_memory

NETWORKS: dict[str, dict[str, int]] = {
    "nasbench201": {"width": 8, "depth": 1},
    "mobilenet": {"width": 8},
    "nasbench101": {"width": 16, "depth": 1},
}
"""Spaces with their options; one architecture of each."""
_SHORT = {"optimizer": "muon", "batch_size": 32}
RECIPES: dict[str, dict[str, Any]] = {
    "constant": {},
    "onecycle": {"schedule": "onecycle", "learning_rate": 0.1},
    "constant, muon": _SHORT,
    "onecycle, muon": {"schedule": "onecycle", "learning_rate": 0.1, **_SHORT},
}
"""GreenNAS's settings beside the defaults, by name: a schedule, and Muon with batches of 32."""
_DEFAULTS = ["constant", "constant, muon", "onecycle, muon"]
_POOL = 100


@dataclass(frozen=True)
class Outcome:
    """What a training reached and took until then: CPU seconds (loader's workers included), seconds, joules."""

    accuracy: float
    images: int
    cpu_seconds: float
    seconds: float
    energy_j: float | None
    kind: Kind


class Stopwatch:
    """What was used since the start, by a meter and the CPU clock of this process and of children that ended."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.cpu_seconds = self.seconds = 0.0
        self.energy_j: float | None = 0.0
        self.kind = Kind.UNAVAILABLE

    @contextmanager
    def running(self, name: str = "") -> Iterator[None]:
        """Count a part of the work."""
        cpu = _cpu_seconds()
        with self._meter.window() as window:
            yield
        self.cpu_seconds += _cpu_seconds() - cpu
        self.seconds += window.seconds
        joules, self.kind = total(window.readings)
        self.energy_j = None if joules is None or self.energy_j is None else self.energy_j + joules

    def outcome(self, accuracy: float, images: int) -> Outcome:
        """All until now."""
        return Outcome(accuracy, images, self.cpu_seconds, self.seconds, self.energy_j, self.kind)


class Images(TorchDataset[tuple[Tensor, int]]):
    """Images one by one, each through its transforms, as torchvision's data sets give them."""

    def __init__(self, split: Split, dataset: Dataset, augment: bool) -> None:
        arrays = split.images.permute(0, 2, 3, 1).numpy()
        self._images = [Image.fromarray(each[:, :, 0] if each.shape[2] == 1 else each) for each in arrays]
        self._labels = split.labels.tolist()
        self._augment = augment
        self._mean, self._std = (torch.tensor(each).view(-1, 1, 1) for each in (dataset.mean, dataset.std))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._images[index]
        if self._augment:
            margin = max(1, image.height // 8)
            left, top, mirrored = (int(torch.randint(high, ())) for high in (2 * margin + 1, 2 * margin + 1, 2))
            image = ImageOps.expand(image, margin)
            image = image.crop((left, top, left + image.width - 2 * margin, top + image.height - 2 * margin))
            image = ImageOps.mirror(image) if mirrored else image
        pixels = torch.from_numpy(np.array(image, dtype=np.uint8).reshape(image.height, image.width, -1))
        return (pixels.permute(2, 0, 1).float() / 255 - self._mean) / self._std, self._labels[index]


def plain(module: nn.Module, dataset: Dataset, seed: int, settings: argparse.Namespace, watch: Stopwatch) -> Outcome:
    """Train and evaluate ``module`` with the plain loop."""
    device = torch.device(settings.device)
    with watch.running():
        torch.manual_seed(seed)

        def loader(split: Split, training: bool) -> DataLoader[tuple[Tensor, int]]:
            return DataLoader(
                Images(split, dataset, augment=training and settings.augment),
                settings.plain_batch,
                shuffle=training,
                drop_last=training,
                num_workers=settings.loader_workers,
                persistent_workers=training,
                pin_memory=device.type == "cuda",
            )

        train_loader = loader(dataset.train, training=True)
        module = module.to(device)
        optimizer = torch.optim.SGD(module.parameters(), lr=settings.plain_rate, momentum=0.9, weight_decay=5e-4)
        steps = settings.epochs * len(train_loader)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        losses = 0.0
        for _ in range(settings.epochs):
            module.train()
            for images, labels in train_loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(module(images.to(device)), labels.to(device))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                losses += loss.item()
        del train_loader, images, labels  # ends the workers, whose CPU time counts
        module.eval()
        with torch.no_grad():
            correct = sum(
                int((module(images.to(device)).argmax(1).cpu() == labels).sum())
                for images, labels in loader(dataset.validation, training=False)
            )
    return watch.outcome(correct / len(dataset.validation), steps * settings.plain_batch)


def ours(module: nn.Module, dataset: Dataset, plan: TrainingPlan, device: str, watch: Stopwatch) -> Outcome:
    """Train and evaluate ``module`` with GreenNAS as a search does."""
    result = train(module, dataset, plan, device=device, phase=watch.running)
    return watch.outcome(result.accuracy, result.examples_seen)


def architecture(space: SearchSpace, dataset: Dataset) -> tuple[Params, float]:
    """The architecture at the lower quartile of FLOPs among 100 random ones, and its MFLOPs."""
    rng = np.random.default_rng(1)
    found: list[tuple[float, int, Params]] = []
    for number in range(_POOL):
        params = space.sample(ReplayTrial(rng))
        flops = space.profile(params, dataset.input_shape, dataset.num_classes).total_flops
        found.append((flops, number, params))
    flops, _, params = sorted(found)[_POOL // 4]
    return params, flops / 1e6


class Comparison:
    """The trainings of one network, and what they say."""

    def __init__(self, name: str, dataset: Dataset, settings: argparse.Namespace, meter: Meter) -> None:
        self._space = load_space(name, **NETWORKS[name])
        self._params, mflops = architecture(self._space, dataset)
        self._title = f"{name}, {mflops:.0f} MFLOPs"
        self._dataset = dataset
        self._settings = settings
        self._meter = meter
        self._plain: list[Outcome] = []
        self._ours: dict[tuple[str, int], list[Outcome]] = {}  # by recipe and epochs

    def run(self) -> None:
        """Train, and print the rows."""
        settings = self._settings
        for seed in range(settings.seeds):
            turns = [partial(self._train_plainly, seed)]
            turns += [partial(self._train, seed, recipe, 1) for recipe in settings.recipes]
            for turn in turns if seed % 2 == 0 else reversed(turns):
                turn()
        print(row(self._title, "plain loop", settings.epochs, self._plain), flush=True)
        for recipe in settings.recipes:
            for epochs in range(1, settings.epochs + 1):
                for seed in range(settings.seeds) if epochs > 1 else ():
                    self._train(seed, recipe, epochs)
                print(row(self._title, f"GreenNAS, {recipe}", epochs, self._ours[recipe, epochs]), flush=True)
                if self._reached(recipe):
                    break

    def ratios(self, recipe: str) -> tuple[float, float, float]:
        """How many times more the plain loop takes to its accuracy; how many times fewer images it does in a second.

        Returns:
            CPU seconds (on a GPU: seconds) and joules, nan without joules and where GreenNAS does not get there; images
            in a CPU second (in a second), of the longest training.
        """
        longest = max(epochs for found, epochs in self._ours if found == recipe)
        faster = self._speed(self._ours[recipe, longest]) / self._speed(self._plain)
        reached = self._reached(recipe)
        if not reached:
            return math.nan, math.nan, faster
        return self._cost(self._plain) / self._cost(reached), _joules(self._plain) / _joules(reached), faster

    def _network(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return self._space.build(self._params, self._dataset.input_shape, self._dataset.num_classes)

    def _train_plainly(self, seed: int) -> None:
        watch = Stopwatch(self._meter)
        self._plain.append(plain(self._network(seed), self._dataset, seed, self._settings, watch))

    def _train(self, seed: int, recipe: str, epochs: int) -> None:
        plan = TrainingPlan(
            epochs=epochs,
            augment=self._settings.augment,
            precision=self._settings.precision,
            seed=seed,
            **RECIPES[recipe],
        )
        outcome = ours(self._network(seed), self._dataset, plan, self._settings.device, Stopwatch(self._meter))
        self._ours.setdefault((recipe, epochs), []).append(outcome)

    def _reached(self, recipe: str) -> list[Outcome]:
        """The shortest trainings that are as accurate as the plain ones, none if there are none."""
        target = statistics.fmean(each.accuracy for each in self._plain)
        found = [self._ours[key] for key in sorted(self._ours) if key[0] == recipe]
        return next((each for each in found if statistics.fmean(o.accuracy for o in each) >= target), [])

    def _cost(self, outcomes: list[Outcome]) -> float:
        return sum(o.cpu_seconds if self._settings.device == "cpu" else o.seconds for o in outcomes)

    def _speed(self, outcomes: list[Outcome]) -> float:
        return sum(o.images for o in outcomes) / self._cost(outcomes)


def _joules(outcomes: list[Outcome]) -> float:
    return sum(math.nan if o.energy_j is None else o.energy_j for o in outcomes)


def row(title: str, loop: str, epochs: int, outcomes: list[Outcome]) -> str:
    """Means over the seeds, as a line of the table."""
    accuracies = [o.accuracy for o in outcomes]
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else float("nan")
    cpu, seconds = (
        statistics.fmean(each) for each in zip(*((o.cpu_seconds, o.seconds) for o in outcomes), strict=True)
    )
    images = statistics.fmean(o.images for o in outcomes)
    joules = [o.energy_j for o in outcomes if o.energy_j is not None]
    energy = f"{statistics.fmean(joules):.4g} ({outcomes[0].kind})" if len(joules) == len(outcomes) else "unavailable"
    accuracy = f"{statistics.fmean(accuracies):.4f} ± {deviation:.4f}"
    speed = f"{images / seconds:.0f} | {images / cpu:.0f}"
    return f"| {title} | {loop} | {epochs} | {accuracy} | {speed} | {cpu:.1f} | {seconds:.1f} | {energy} |"


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--train-images", type=int, default=3000, help="0: all")
    parser.add_argument("--validation-images", type=int, default=3000, help="0: all")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=10, help="three do not tell half a point of accuracy")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=_DEFAULTS, help="GreenNAS's")
    parser.add_argument("--plain-batch", type=int, default=64, help="the plain loop's batch size")
    parser.add_argument("--plain-rate", type=float, default=0.1, help="the plain loop's learning rate")
    parser.add_argument("--loader-workers", type=int, default=2)
    parser.add_argument("--augment", action="store_true", help="random crops and flips in both loops")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"], help="GreenNAS's")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = load_data(
        settings.data,
        settings.data_dir,
        train_images=settings.train_images or None,
        validation_images=settings.validation_images or None,
    )
    meter = open_meter(settings.device, exclusive=False)
    print(f"{dataset.name}: {len(dataset.train)} train images, {len(dataset.validation)} validation images;", end=" ")
    print(f"{settings.seeds} seeds; {meter.describe()[0].device}; PyTorch {torch.__version__}\n")
    print("| network | loop | epochs | accuracy | images/s | images/CPU s | CPU s | s | J |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    comparisons = {name: Comparison(name, dataset, settings, meter) for name in settings.networks}
    for comparison in comparisons.values():
        comparison.run()
    unit = "CPU seconds" if settings.device == "cpu" else "seconds"
    print("\nThe plain loop's over GreenNAS's, to the plain loop's accuracy:\n")
    print(f"| network | recipe | {unit} | joules | training speed |\n| --- | --- | ---: | ---: | ---: |")
    for name, comparison in comparisons.items():
        for recipe in settings.recipes:
            figures = (f"{each:.2f}" for each in comparison.ratios(recipe))
            print(f"| {name} | {recipe} | {' | '.join(figures)} |")
    meter.close()


if __name__ == "__main__":
    main()
