"""Structured pruning: whole channels of small weight are cut out, so that every runtime has less to do."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from greennas.errors import ConfigError
from greennas.libraries import load_library, quiet

ROUND_TO = 8
"""Channels that are left are a multiple of this where a layer has so many: kernels are fastest then."""


def prune_channels(module: nn.Module, images: Tensor, num_classes: int, share: float) -> nn.Module:
    """A copy of ``module`` without the ``share`` of each layer's channels whose weights are smallest.

    Channels that depend on each other (residual sums, depthwise convolutions) are judged and cut together, by the
    2-norm of their weights (torch-pruning; Fang et al., "DepGraph", CVPR 2023). The layers that give the logits keep
    their outputs. What is left should be trained for some epochs.

    Args:
        module: maps images (B, C, H, W) to logits (B, num_classes).
        images: an example, (B, C, H, W).
        num_classes: number of logits.
        share: of channels to cut, between 0 and 1.

    Raises:
        ConfigError: torch-pruning is missing or cannot prune this network, or there is nothing to cut.
    """
    if not 0 < share < 1:
        raise ConfigError(f"A share of {share:g} of the channels cannot be pruned; take one as 50%.")
    pruning = load_library("torch_pruning", "compress", "Structured pruning")
    pruned = copy.deepcopy(module).eval()
    for parameter in pruned.parameters():
        parameter.requires_grad_(True)
    kept = _last_of(pruned, images, num_classes)
    before = sum(parameter.numel() for parameter in pruned.parameters())
    try:
        with quiet(), torch.enable_grad():  # dependencies are found through autograd
            pruner = pruning.pruner.BasePruner(
                pruned,
                images,
                importance=pruning.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=share,
                ignored_layers=kept,  # and what is added to its outputs
                round_to=ROUND_TO,
            )
            pruner.step()
        with torch.no_grad():
            shape = tuple(pruned(images).shape)
    except Exception as error:  # it runs the network's own code on changed shapes
        raise ConfigError(
            f"torch-pruning cannot prune this network ({type(error).__name__}: {error}); leave pruning out."
        ) from error
    if shape != (len(images), num_classes):
        raise ConfigError(f"The pruned network gives logits of shape {shape}; leave pruning out.")
    after = sum(parameter.numel() for parameter in pruned.parameters())
    if after >= before:
        raise ConfigError(f"Pruning {share:.0%} cut nothing from this network; choose a larger share.")
    return pruned


def _last_of(module: nn.Module, images: Tensor, width: int) -> list[nn.Module]:
    """The layer of so many outputs that runs last, which gives the logits; empty where there is none."""
    ran: list[nn.Module] = []

    def note(part: nn.Module, args: object, output: object) -> None:
        if width in (getattr(part, "out_features", None), getattr(part, "out_channels", None)):
            ran[:] = [part]

    hooks = [part.register_forward_hook(note) for part in module.modules()]
    try:
        with torch.no_grad():
            module(images)
    finally:
        for hook in hooks:
            hook.remove()
    return ran
