"""Knowledge distillation: a network learns from the logits of a trained one, too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Distillation:
    """What a teacher adds to the loss: G. Hinton, O. Vinyals, J. Dean, arXiv 1503.02531.

    The loss is (1 - weight) times the cross-entropy with the labels, plus weight times T squared times the
    Kullback-Leibler divergence of the softened outputs, softmax(logits / T), from the teacher's.

    Args:
        teacher: maps the same images to logits of the same classes; is put into evaluation mode.
        device: where the training runs.
        weight: of the teacher, 0 to 1.
        temperature: T, above 0.
    """

    def __init__(self, teacher: nn.Module, device: torch.device, weight: float = 0.5, temperature: float = 4.0) -> None:
        self._teacher: nn.Module = teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._teacher.eval()
        self._weight = weight
        self._temperature = temperature

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """The teacher's logits (B, classes) of ``images`` (B, C, H, W)."""
        logits: Tensor = self._teacher(images)
        return logits

    def mixed(self, loss: Tensor, logits: Tensor, taught: Tensor) -> Tensor:
        """The whole loss.

        Args:
            loss: cross-entropy with the labels.
            logits: (B, classes) of the network, float32.
            taught: the teacher's of the same images, likewise.
        """
        own, taught = (F.log_softmax(each / self._temperature, dim=1) for each in (logits, taught))
        divergence = F.kl_div(own, taught, reduction="batchmean", log_target=True)
        return (1 - self._weight) * loss + self._weight * self._temperature**2 * divergence
