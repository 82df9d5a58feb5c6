"""The optimizers: fused SGD, and Muon, which makes the steps of convolutions equally large in all directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from greennas.errors import TrainingError
from greennas.training.plan import TrainingPlan

_STEPS = 3
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_EPSILON = 1e-7  # keeps a gradient of zeros what it is
MUON_SHARE = 0.2
"""Singular values of a convolution's step under Muon, about, as a share of the learning rate; those of a matrix of
more rows (outputs) than columns (inputs times kernel) are larger by the root of that ratio."""


def optimizer_of(module: nn.Module, plan: TrainingPlan) -> torch.optim.SGD:
    """The plan's optimizer for the weights of ``module`` that are trained; biases and norms do not decay.

    Raises:
        TrainingError: none are.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise TrainingError("dead network: it has no weights to train; check how its layers connect.")
    muon = [p for p in trained if plan.optimizer == "muon" and _orthogonal(p)]
    chosen = set(map(id, muon))
    rest = [p for p in trained if id(p) not in chosen]
    groups: list[dict[str, Any]] = [
        {"params": muon, "weight_decay": plan.weight_decay, "muon": True},
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    return (Muon if muon else torch.optim.SGD)(
        used, lr=plan.learning_rate, momentum=plan.momentum, nesterov=plan.momentum > 0, fused=True
    )


class Muon(torch.optim.SGD):
    """SGD whose groups with ``muon`` step along their momentum with all singular values made (about) one.

    K. Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024), with its polynomial, and three
    steps of it as in its CIFAR-10 speed runs. A convolution's weights are a matrix of outputs by inputs times kernel.
    The few strong directions of a gradient do not drown the others, which tells most where there are few steps.

    The state's names are SGD's.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], **defaults: Any) -> None:
        super().__init__(groups, **defaults)
        for group in self.param_groups:
            if group.setdefault("muon", False):  # its momentum is here, so the step itself has none
                group["own_momentum"], group["own_nesterov"] = group["momentum"], group["nesterov"]
                group["momentum"], group["nesterov"] = 0.0, False

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Orthogonalise the momentum of the groups with ``muon`` in place of their gradients, and step."""
        for group in self.param_groups:
            if group["muon"]:
                self._orthogonalise(group)
        loss: float | None = super().step(closure)
        return loss

    def _orthogonalise(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        gradients = [weight.grad for weight in weights]
        momenta = [self._momentum(weight) for weight in weights]
        torch._foreach_mul_(momenta, group["own_momentum"])
        torch._foreach_add_(momenta, gradients)
        if group["own_nesterov"]:
            torch._foreach_add_(gradients, momenta, alpha=group["own_momentum"])
        else:
            torch._foreach_copy_(gradients, momenta)
        alike: dict[torch.Size, list[Tensor]] = {}  # matrices of one shape are done as one batch
        for gradient in gradients:
            matrix = gradient.movedim(1, -1).flatten(1)  # of channels-last weights a view
            alike.setdefault(matrix.shape, []).append(gradient)
        for (rows, columns), found in alike.items():
            matrices = torch.stack([gradient.movedim(1, -1).flatten(1) for gradient in found])
            steps = orthogonalised(matrices).mul_(MUON_SHARE * max(1.0, rows / columns) ** 0.5)
            for gradient, step in zip(found, steps, strict=True):
                last = gradient.movedim(1, -1)
                last.copy_(step.view(last.shape))

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices (B, rows, columns) with their singular values brought near 1 (0.5 to 1.2 unless they were tiny).

    A Newton-Schulz iteration: each step maps all singular values by an odd polynomial, without finding them.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    each = matrices.mT if tall else matrices
    each = each / (torch.linalg.matrix_norm(each, keepdim=True) + _EPSILON)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_STEPS):
        square = each @ each.mT
        each = torch.baddbmm(each, torch.baddbmm(square, square, square, beta=third, alpha=fifth), each, beta=first)
    return each.mT if tall else each


def _orthogonal(weight: Tensor) -> bool:
    """Whether Muon steps it: a convolution of more than one input channel; the classifier is left to SGD."""
    return weight.ndim > 2 and weight.shape[1] > 1
