"""A network's weights: their moving average, the statistics of batch norm that fit it, and a check that they matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from greennas.errors import TrainingError

EMA_DECAY = 0.999
_DEAD = 1e-6  # largest difference of logits between images, relative to their size, that rounding explains
_NUDGE = 0.1


class WeightAverage:
    """Exponential moving average of a module's floating point parameters.

    The decay of step t is min(0.999, (1 + t) / (10 + t)): the average spans about the last ninth of the steps so far,
    so that it is worth reading from the first steps on and does not depend on how long the training will be.
    """

    def __init__(self, module: nn.Module) -> None:
        self._weights = [parameter for parameter in module.parameters() if parameter.is_floating_point()]
        self._average = [weight.detach().clone() for weight in self._weights]
        self._step = 0
        self._swapped = False

    def state(self) -> tuple[dict[str, Tensor], int]:
        """The average while the module has its trained weights, by position, and the steps that it spans."""
        return {str(i): average.clone() for i, average in enumerate(self._average)}, self._step

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on with what ``state`` gave."""
        for i, average in enumerate(self._average):
            average.copy_(tensors[str(i)])
        self._step = steps

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's weights after a training step."""
        self._step += 1
        decay = min(EMA_DECAY, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(self._average, [weight.detach() for weight in self._weights], 1 - decay)

    def show(self, averaged: bool) -> None:
        """Put the averaged weights into the module, or the trained ones back."""
        if averaged != self._swapped:
            for i, weight in enumerate(self._weights):
                weight.data, self._average[i] = self._average[i], weight.data
            self._swapped = averaged


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; each submodule is put back into the mode that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@torch.no_grad()
def reestimate_batch_norm(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set batch norm's running statistics to the averages over ``batches``, for the weights as they are.

    The running statistics of a training belong to its last weights, not to averaged ones.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating(module):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
            norm.train()
        try:
            for batch in batches:
                if len(batch) > 1:
                    module(batch)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


@torch.no_grad()
def check_network(module: nn.Module, images: Tensor, num_classes: int) -> None:
    """Check that ``module`` gives logits of the right shape, and that they depend on the image.

    Constant logits alone are no fault (a last layer may start at zero); they must stay constant after all weights
    were nudged. The module is left as it was.

    Raises:
        TrainingError: wrong shape, or a dead network.
    """
    with evaluating(module):
        norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
        state = [(tensor, tensor.clone()) for tensor in (*module.parameters(), *module.buffers())]
        for norm in norms:
            norm.train()  # at the start, running statistics do not hold deep signals up
        try:
            if not _constant(module, images, num_classes):
                return
            generator = torch.Generator().manual_seed(0)
            for parameter in module.parameters():
                if parameter.is_floating_point():
                    parameter.add_(_NUDGE * torch.randn(parameter.shape, generator=generator).to(parameter))
            if _constant(module, images, num_classes):
                raise TrainingError(
                    "dead network: its logits do not depend on the input; check how its layers connect."
                )
        finally:
            for tensor, value in state:
                tensor.copy_(value)


def check_output(logits: object, count: int, num_classes: int) -> Tensor:
    """``logits``, if they are a (count, num_classes) float tensor.

    Raises:
        TrainingError: they are not.
    """
    if not isinstance(logits, Tensor):
        raise TrainingError(f"The network returns a {type(logits).__name__}, not a tensor of logits; mend its forward.")
    if logits.shape != (count, num_classes) or not logits.is_floating_point():
        raise TrainingError(
            f"The network returns {logits.dtype} of shape {tuple(logits.shape)} for {count} images of {num_classes} "
            f"classes; it must return floating point logits of shape {(count, num_classes)}."
        )
    return logits


def _constant(module: nn.Module, images: Tensor, num_classes: int) -> bool:
    logits = check_output(module(images), len(images), num_classes).float()
    if not logits.isfinite().all():
        return False  # the loss will say so
    spread = (logits - logits[0]).abs().max()
    return bool(spread <= _DEAD * logits.abs().max())
