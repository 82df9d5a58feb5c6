"""The training loop: steps of the optimizer, a look at the loss now and then, evaluations of the averaged weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from greennas.data import AnySplit, Dataset
from greennas.errors import DataError, TrainingError
from greennas.training.batches import TrainingBatches, batches_of, evaluation_batch_size
from greennas.training.distillation import Distillation
from greennas.training.kernels import quick_kernels
from greennas.training.memory import fitted, out_of_memory
from greennas.training.optimizer import optimizer_of
from greennas.training.plan import Precision, RungReport, TrainingPlan
from greennas.training.runtime import Network, network_in, quickest
from greennas.training.schedule import learning_rate
from greennas.training.weights import WeightAverage, check_network, check_output, evaluating, reestimate_batch_norm
from greennas.walk import materialise

_CUDA_CHECK_INTERVAL = 64  # steps between looks at the loss, each of which waits for the device
_CHECK_IMAGES = 8
STATISTICS_IMAGES = 512
"""Train images that batch norm's statistics for averaged weights are taken from, at each evaluation."""


@contextmanager
def failures() -> Iterator[None]:
    """Turn every form of running out of memory into ``TrainingError``."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            first = str(error).strip().partition("\n")[0]
            raise TrainingError(
                f"out of memory: {first or 'no memory was left'}; take a smaller batch or network."
            ) from error
        raise


@contextmanager
def reproducible(device: torch.device, seed: int) -> Iterator[None]:
    """Seed what draws from PyTorch's global generators, choose repeatable kernels; put both back afterwards."""
    devices = [device] if device.type == "cuda" else []
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True)
    with torch.random.fork_rng(devices), cudnn:
        torch.manual_seed(seed)
        yield


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bfloat16 where the precision says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def accuracy_and_loss(
    module: nn.Module,
    split: AnySplit,
    dataset: Dataset,
    device: torch.device,
    precision: Precision,
    batch_size: int | None = None,
) -> tuple[float, float]:
    """Accuracy (0..1) and mean cross-entropy of ``module``, which is on ``device``, on ``split``.

    Nothing is moved here: CUDA graphs know the weights by their places in memory. Where memory is short, batches are
    smaller.

    Raises:
        DataError: the split is empty.
        TrainingError: the output is of a wrong shape, or not finite.
    """
    if not len(split):
        raise DataError("There are no images to evaluate on; give a split with one or more.")

    def evaluated(size: int) -> tuple[Tensor, Tensor]:
        correct = torch.zeros((), dtype=torch.int64, device=device)
        loss = torch.zeros((), dtype=torch.float64, device=device)
        for images, labels in batches_of(split, dataset, size, device):
            logits = check_output(module(images), len(labels), dataset.num_classes).float()
            correct += (logits.argmax(dim=1) == labels).sum()
            loss += F.cross_entropy(logits, labels, reduction="sum")
        return correct, loss

    with evaluating(module), quick_kernels(module), torch.inference_mode(), autocast(device, precision):
        (correct, loss), _ = fitted(evaluated, batch_size or evaluation_batch_size(device, split.image_shape), device)
    if not loss.isfinite():
        raise TrainingError("loss is not finite on held-out images; take a smaller learning rate.")
    return correct.item() / len(split), loss.item() / len(split)


@dataclass(frozen=True, eq=False)
class LoopState:
    """Where a training stands: tensors by name, and JSON-ready facts."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class TrainingLoop:
    """A training that goes on step by step.

    Args:
        module: is trained in place.
        dataset: only its train and validation splits are used.
        plan: how.
        device: where.
        teacher: a trained network whose logits the network is to learn, too.

    Attributes:
        precision: of the steps.
        runtime: of the steps; eager after the first one if the network cannot be captured or compiled, or does not fit.
        batch_size: images of a step.
        microbatch: images whose gradients are computed at once; fewer than the plan's once memory has run out.
        steps: training steps done.
        seconds: wall-clock time of these steps.

    Raises:
        TrainingError: the output's shape is wrong or does not depend on the input.
    """

    def __init__(
        self,
        module: nn.Module,
        dataset: Dataset,
        plan: TrainingPlan,
        device: torch.device,
        teacher: nn.Module | None = None,
    ) -> None:
        materialise(module, dataset.input_shape)  # lazy layers have no memory format
        self._module: nn.Module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module.train()
        self._dataset = dataset
        self._plan = plan
        self._device = device
        self._batches = TrainingBatches(dataset, plan.batch_size, plan.augment, plan.seed, device)
        check_network(self._module, self._first_images(_CHECK_IMAGES), dataset.num_classes)
        self._optimizer = optimizer_of(self._module, plan)
        self._distillation = Distillation(teacher, device) if teacher is not None else None
        self._average = WeightAverage(self._module) if plan.averages else None
        self._check_interval = 1 if device.type == "cpu" else _CUDA_CHECK_INTERVAL
        self._losses: list[Tensor] = []
        self.batch_size = self._batches.batch_size
        self.microbatch = min(plan.microbatch or self.batch_size, self.batch_size)
        automatic = quickest(device.type, plan.steps(len(dataset.train)))
        self.runtime = automatic if plan.runtime == "auto" else plan.runtime
        self._network: Network | None = None  # from the first step on
        self.precision = _precision(plan, device)
        self.steps = 0
        self.seconds = 0.0

    def advance_to(self, epoch: float) -> None:
        """Train until ``epoch`` epochs are done (at least one step)."""
        self.advance(self._plan.steps(len(self._dataset.train), epoch) - self.steps)

    def advance(self, steps: int) -> None:
        """Do ``steps`` training steps.

        Raises:
            TrainingError: the loss is not finite.
        """
        if self._average is not None:
            self._average.show(averaged=False)
        start = time.perf_counter()
        with quick_kernels(self._module) if self.runtime == "eager" else nullcontext():
            for _ in range(steps):
                self._step()
                if self.steps % self._check_interval == 0:
                    self._check_losses()
        self._check_losses()
        self.seconds += time.perf_counter() - start

    def evaluate(self, epoch: float) -> RungReport:
        """Evaluate on the validation split; the module then holds the evaluated weights until it is trained on."""
        if self._average is not None:
            self._average.show(averaged=True)
        if self._plan.ema:
            with quick_kernels(self._module), autocast(self._device, self.precision):
                fitted(self._reestimate, evaluation_batch_size(self._device, self._dataset.input_shape), self._device)
        accuracy, loss = accuracy_and_loss(
            self._module, self._dataset.validation, self._dataset, self._device, self.precision
        )
        seen = self.steps * self.batch_size
        return RungReport(float(epoch), self.steps, seen, accuracy, loss, self.seconds)

    def state(self) -> LoopState:
        """All that the coming steps depend on, between two epochs; the module then holds its trained weights."""
        if self._average is not None:
            self._average.show(averaged=False)
        parts: dict[str, Mapping[str, Tensor]] = {
            "weights": self._module.state_dict(),
            "momentum": {
                str(i): state["momentum_buffer"]
                for i, state in enumerate(map(self._optimizer.state.get, self._trained()))
                if state
            },
            "batches": self._batches.state(),
            "random": {"cpu": torch.get_rng_state()},
        }
        facts: dict[str, Any] = {
            "steps": self.steps,
            "seconds": self.seconds,
            "precision": self.precision,
            "microbatch": self.microbatch,
        }
        if self._device.type == "cuda":
            parts["random"] = {**parts["random"], "cuda": torch.cuda.get_rng_state(self._device)}
        if self._average is not None:
            parts["average"], facts["averaged_steps"] = self._average.state()
        tensors = {f"{part}.{name}": tensor for part, found in parts.items() for name, tensor in found.items()}
        return LoopState({name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}, facts)

    def restore(self, state: LoopState) -> None:
        """Go on as the loop would have that gave ``state``; module, data and plan have to be the same."""

        def part(name: str) -> dict[str, Tensor]:
            start = f"{name}."
            return {key[len(start) :]: value for key, value in state.tensors.items() if key.startswith(start)}

        self._module.load_state_dict(part("weights"))
        momentum = part("momentum")
        for i, parameter in enumerate(self._trained()):
            if str(i) in momentum:
                # in the parameter's own memory format, which a file does not keep
                self._optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(
                    momentum[str(i)]
                )
        self._batches.restore(part("batches"))
        random = part("random")
        torch.set_rng_state(random["cpu"])
        if self._device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self._device)
        facts = state.facts
        if self._average is not None:
            self._average.restore(part("average"), facts["averaged_steps"])
        self.steps, self.seconds = facts["steps"], facts["seconds"]
        self.precision = facts["precision"]
        self.microbatch = facts["microbatch"]

    def _trained(self) -> list[Tensor]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _step(self) -> None:
        images, labels = self._batches.next()
        rate = learning_rate(self._plan, self.steps, len(self._batches.source))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss, self.microbatch = fitted(
            lambda count: self._gradients(images, labels, count), self.microbatch, self._device
        )
        self._optimizer.step()
        if self._average is not None:
            self._average.update()
        self._losses.append(loss)
        self.steps += 1

    def _gradients(self, images: Tensor, labels: Tensor, microbatch: int) -> Tensor:
        """Leave the gradients of the batch's mean loss, added up over parts of about ``microbatch``; the loss."""
        self._optimizer.zero_grad(set_to_none=True)
        parts = math.ceil(len(labels) / microbatch)  # of one size, give or take an image
        if parts > 1:  # of two sizes, and memory is short: nothing is captured
            self._network, self.runtime = self._module, "eager"
        losses = []
        for some, targets in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
            loss = self._loss(some, targets)
            if parts > 1:
                loss = loss * (len(targets) / len(labels))
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return losses[0] if parts == 1 else torch.stack(losses).sum()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with autocast(self._device, self.precision):
            if self._network is None:
                self._network, self.runtime = network_in(self.runtime, self._module, images)
            logits = self._network(images)
            taught = self._distillation.logits(images) if self._distillation is not None else None
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self._plan.label_smoothing)
        if self._distillation is not None and taught is not None:
            loss = self._distillation.mixed(loss, logits.float(), taught.float())
        return loss

    def _check_losses(self) -> None:
        """Look at the losses since the last look; on a GPU this waits for the steps to end."""
        if not self._losses:
            return
        finite = torch.stack(self._losses).isfinite().tolist()
        first = self.steps - len(self._losses)
        self._losses.clear()
        if not all(finite):
            raise TrainingError(
                f"loss is not finite after {first + finite.index(False) + 1} steps; take a smaller learning rate."
            )

    def _reestimate(self, batch_size: int) -> None:
        """Give batch norm the statistics of the averaged weights."""
        first = self._dataset.train.first(STATISTICS_IMAGES)
        batches = batches_of(first, self._dataset, batch_size, self._device)
        reestimate_batch_norm(self._module, (images for images, _ in batches))

    def _first_images(self, count: int) -> Tensor:
        source = self._batches.source
        return source.normalised(source.batch(slice(count))[0])


def _precision(plan: TrainingPlan, device: torch.device) -> Precision:
    if plan.precision != "auto":
        return plan.precision
    has = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has else "float32"
