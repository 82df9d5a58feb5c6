"""Checks of ``build`` and ``profile``: networks that train, whose weights can be saved, and what they cost on paper."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from greennas.errors import TrainingError
from greennas.profile import CostProfile, profile
from greennas.space import InputShape, SearchSpace
from greennas.testing.finding import Check, Finding, short
from greennas.testing.sampling import Sample
from greennas.training.weights import check_network

_IMAGES = 3
_COMPARED = 60  # samples among which equal networks are looked for
_BUILDS = "Let sample suggest only what build can make, and build for images of any size and any number of classes."


def check_builds(
    space: SearchSpace,
    samples: Sequence[Sample],
    chosen: Sequence[Sample],
    shapes: Sequence[InputShape],
    num_classes: int,
) -> list[Finding]:
    """Build all ``samples``; of those ``chosen`` a forward and a backward pass, and weights that fit another copy."""
    check = Check("networks")
    for sample in samples:
        try:
            space.build(sample.params, shapes[0], num_classes)
        except Exception as error:
            check.error(f"build fails for {short(sample.params)}: {short(error)}.", _BUILDS)
    if check.failed:
        return check.findings("")
    for sample, shape in itertools.product(chosen, shapes):
        try:
            first, second = (_built(space, sample, shape, num_classes) for _ in range(2))
        except Exception as error:
            check.error(f"build fails for {short(sample.params)} and images of {shape}: {short(error)}.", _BUILDS)
            continue
        if not isinstance(first, nn.Module):
            check.error(f"build returns a {type(first).__name__}.", "Return a torch.nn.Module.")
            continue
        try:
            _passes(first, shape, num_classes, check)
        except TrainingError as error:
            check.error(f"{short(sample.params)}, images of {shape}: {error}", "Mend build or the module's forward.")
            continue
        except Exception as error:
            check.error(f"{short(sample.params)} fails on images of {shape}: {short(error)}.", _BUILDS)
            continue
        _channels_last(first, sample, shape, check)
        _copies(first, second, check)
    return check.findings(
        f"{len(samples)} built, {len(chosen)} of them with a forward and a backward pass on images of "
        f"{' and '.join(map(str, shapes))}; weights fit another copy"
    )


def check_profiles(
    space: SearchSpace, samples: Sequence[Sample], shapes: Sequence[InputShape], num_classes: int
) -> list[Finding]:
    """Whether the profile can be had, and a closed form equals the walk."""
    check = Check("profile")
    closed = callable(getattr(space.module, "profile", None))
    for sample, shape, (classes, batch) in itertools.product(samples, shapes, ((num_classes, 1), (num_classes + 2, 7))):
        try:
            walked = profile(space.build(sample.params, shape, classes), shape, batch)
        except Exception as error:
            check.error(
                f"A walk over {short(sample.params)} on the meta device fails: {short(error)}.",
                "Let forward depend on shapes alone, not on the images' values, and make new tensors on x.device.",
            )
            continue
        try:
            said = space.profile(sample.params, shape, classes, batch)
        except Exception as error:
            check.error(f"profile fails for {short(sample.params)}: {short(error)}.", "Mend profile, or leave it out.")
            continue
        if closed and said != walked:
            check.error(
                f"profile of {short(sample.params)} for images of {shape}, {classes} classes and batches of {batch} is "
                f"not that of the walk: {_difference(said, walked)}.",
                "Mend profile until it equals greennas.profile(build(...)), or leave it out.",
            )
    return check.findings("the closed form equals the walk" if closed else "taken from a walk over the network")


def check_duplicates(
    space: SearchSpace, samples: Sequence[Sample], shape: InputShape, num_classes: int
) -> list[Finding]:
    """Whether equal ids are equal networks, and equal networks have equal ids, among the first samples."""
    check = Check("equal networks")
    costs: dict[int, CostProfile] = {}
    for index, sample in enumerate(samples[:_COMPARED]):
        try:
            costs[index] = space.profile(sample.params, shape, num_classes, _IMAGES)
        except Exception:
            continue  # said elsewhere
    by_id: dict[str, list[int]] = defaultdict(list)
    by_cost: dict[str, list[int]] = defaultdict(list)
    for index, cost in costs.items():
        by_id[space.architecture(samples[index].params).id].append(index)
        by_cost[str(cost.to_json())].append(index)
    for group in by_id.values():
        for index in group[1:]:
            if costs[index].total_flops != costs[group[0]].total_flops:
                check.error(
                    f"{short(samples[group[0]].params)} and {short(samples[index].params)} have one id, but cost "
                    f"{costs[group[0]].total_flops:g} and {costs[index].total_flops:g} FLOPs.",
                    "Let canonical differ for networks that are not the same.",
                )
    for group in by_cost.values():
        if len(group) == 1:
            continue
        logits: dict[str, int] = {}
        for index in group:
            params = samples[index].params
            identity = space.architecture(params).id
            same = logits.setdefault(_fingerprint(space, samples[index], shape, num_classes), index)
            if space.architecture(samples[same].params).id != identity:
                check.advice(
                    f"{short(samples[same].params)} and {short(params)} are the same network with two ids.",
                    "Say so with canonical(params), or such networks are trained twice.",
                )
    return check.findings(f"none of {len(costs)} samples has the id of another network, or a second id")


def _built(space: SearchSpace, sample: Sample, shape: InputShape, num_classes: int) -> Any:
    torch.manual_seed(0)
    return space.build(sample.params, shape, num_classes)


def _passes(network: nn.Module, shape: InputShape, num_classes: int, check: Check) -> None:
    images = torch.rand(_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    check_network(network, images, num_classes)
    network.train()(images).logsumexp(1).sum().backward()
    weights = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    if not weights:
        check.error("A network has no trainable parameters.", "Give every network a layer with weights.")
    for name, weight in weights:
        if weight.grad is None:
            check.advice(
                f"The weights {name!r} have no part in the logits.",
                "Leave out what forward does not use: it counts as parameters and never learns.",
            )
        elif not weight.grad.isfinite().all():
            check.error(f"The gradient of {name!r} is not finite.", "Mend forward or how weights are initialised.")


def _channels_last(network: nn.Module, sample: Sample, shape: InputShape, check: Check) -> None:
    """A step in the memory format of trainings, in which ``view`` cannot flatten what convolutions return."""
    images = torch.rand(_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    try:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network(images.contiguous(memory_format=torch.channels_last)).logsumexp(1).sum().backward()
    except Exception as error:
        check.error(
            f"{short(sample.params)} fails on images of {shape} in the channels-last memory format, in which networks "
            f"are trained: {short(error)}",
            "Flatten with reshape or flatten in place of view.",
        )


def _copies(first: nn.Module, second: nn.Module, check: Check) -> None:
    if {id(weight) for weight in first.parameters()} & {id(weight) for weight in second.parameters()}:
        check.error(
            "build returned weights that an earlier network already has.",
            "Make new modules in every call of build, and cache none.",
        )
    try:
        second.load_state_dict(first.state_dict())
    except Exception as error:
        check.error(
            f"Weights of a network do not fit the next one of the same parameters: {short(error)}.",
            "Let build depend on params, input_shape and num_classes alone.",
        )


def _fingerprint(space: SearchSpace, sample: Sample, shape: InputShape, num_classes: int) -> str:
    """Equal for networks that give the same logits with weights from the same seed."""
    try:
        network = _built(space, sample, shape, num_classes)
        with torch.no_grad():
            images = torch.rand(_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
            return str(network.train()(images).tolist())
    except Exception:  # said elsewhere
        return str(sample.params)


def _difference(said: CostProfile, walked: CostProfile) -> str:
    return "; ".join(_differences(said, walked))


def _differences(said: CostProfile, walked: CostProfile) -> Iterator[str]:
    for each in fields(CostProfile):
        left, right = getattr(said, each.name), getattr(walked, each.name)
        if left != right:
            yield f"{each.name} {short(left)} instead of {short(right)}"
