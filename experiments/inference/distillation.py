"""Does a teacher help a small network that has few labels of its own? Pairs of trainings, alone and taught, by seed.

The setting is that of G. Hinton, O. Vinyals, J. Dean (arXiv 1503.02531, section 6): the teacher has learnt from many
labelled images, the student sees few; and beside it one where both see few. Both trainings of a pair begin with the
same weights and see the same images in the same order. Every setting that was tried stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from networks import residual_network
from torch import nn

from greennas.data import Dataset
from greennas.energy.intervals import mean_interval
from greennas.trainer import TrainingPlan
from greennas.training.loop import TrainingLoop


@dataclass(frozen=True)
class Setting:
    """How teacher and student are trained.

    Attributes:
        name: in the table.
        augment: whether the student's images are cropped and flipped at random.
        label_smoothing: of the teacher's training and of the student's labels.
        equal: whether the teacher learns from the student's few images, too, in the same way; else from many.
    """

    name: str
    augment: bool
    label_smoothing: float
    equal: bool = False


SETTINGS = (
    Setting("images as they are", False, 0.1),
    Setting("random crops and flips", True, 0.1),
    Setting("random crops and flips, no label smoothing", True, 0.0),
    Setting("random crops and flips, and the teacher's in the same way", True, 0.1, equal=True),
)
Pairs = Mapping[str, Sequence[tuple[float, float]]]


def trained(module: nn.Module, dataset: Dataset, teacher: nn.Module | None = None, **plan: Any) -> float:
    """Train a network in place; its validation accuracy."""
    how = TrainingPlan(precision="float32", **plan)
    loop = TrainingLoop(module, dataset, how, torch.device("cpu"), teacher)
    loop.advance_to(how.epochs)
    return loop.evaluate(how.epochs).accuracy


def pairs(
    settings: Sequence[Setting],
    many: Dataset,
    few: Dataset,
    seeds: Sequence[int],
    *,
    teacher_epochs: float,
    epochs: float,
    tell: Callable[[str], None],
) -> Pairs:
    """Validation accuracies (alone, taught) of each seed, by setting.

    Args:
        settings: what to try.
        many: what the teacher learns from.
        few: what the student does; the validation images are the same.
        seeds: of the student's weights and order of images; the teacher is of seed 0.
        teacher_epochs: over ``many``.
        epochs: over ``few``.
        tell: told what was found.
    """
    shape, classes = many.input_shape, many.num_classes
    teachers: dict[tuple[float, bool], nn.Module] = {}
    found: dict[str, list[tuple[float, float]]] = {}
    for each in settings:
        student: dict[str, Any] = {"epochs": epochs, "augment": each.augment, "label_smoothing": each.label_smoothing}
        which = (each.label_smoothing, each.equal)
        if which not in teachers:
            teachers[which] = residual_network(shape, classes, blocks=2, width=16)
            how = student if each.equal else {"epochs": teacher_epochs, "label_smoothing": each.label_smoothing}
            accuracy = trained(teachers[which], few if each.equal else many, seed=0, **how)
            tell(f"the teacher of '{each.name}': validation accuracy {accuracy:.4f}")
        for seed in seeds:
            alone, taught = (
                trained(
                    residual_network(shape, classes, blocks=1, width=8, seed=seed), few, teacher, seed=seed, **student
                )
                for teacher in (None, teachers[which])
            )
            found.setdefault(each.name, []).append((alone, taught))
            tell(f"{each.name}, seed {seed}: validation accuracy {alone:.4f} alone, {taught:.4f} taught")
    return found


def markdown(found: Pairs) -> str:
    """A row for each setting: means, and the mean difference of the pairs with its 95% interval."""
    lines = ["| the student's training | alone | taught | points more (95% interval) | seeds |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name, each in found.items():
        alone, taught = (sum(values) / len(each) for values in zip(*each, strict=True))
        more, low, high = mean_interval([100 * (after - before) for before, after in each], 0.95)
        lines.append(f"| {name} | {alone:.4f} | {taught:.4f} | {more:+.2f} ({low:+.2f} to {high:+.2f}) | {len(each)} |")
    return "\n".join(lines)
