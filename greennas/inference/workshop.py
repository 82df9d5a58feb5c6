"""Makes the variants of one network, each step's energy metered, and says why one cannot be made."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from greennas.compression import fold_batch_norm, prune_channels, quantize_onnx
from greennas.energy import Meter, primary
from greennas.errors import ConfigError, GreenNASError
from greennas.export.formats import exported_program, write_onnx
from greennas.inference.classification_report import Preparation
from greennas.inference.runtimes import Runner, compiled, eager, onnxruntime
from greennas.inference.targets import Target
from greennas.inference.variant import Variant, why_not
from greennas.trainer import TrainingPlan, train
from greennas.training.batches import batches_of

CALIBRATION_IMAGES = 512
"""Training images that the scales of int8 come from."""
_CALIBRATION_BATCH = 64
_NOISE_IMAGES = 256
_FINETUNE = TrainingPlan(epochs=2, learning_rate=0.02, label_smoothing=0.0, precision="float32")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Compression:
    """How networks are compressed.

    Attributes:
        prune_share: share of each layer's channels to cut.
        finetune: training after it.
    """

    prune_share: float = 0.5
    finetune: TrainingPlan = _FINETUNE

    @classmethod
    def of(cls, prune_share: float, epochs: float) -> Compression:
        """Other than by default in the share and in the epochs of the fine-tuning.

        Raises:
            ConfigError: they are out of range.
        """
        if not 0 < prune_share < 1:
            raise ConfigError(f"A share of {prune_share:g} of the channels cannot be pruned; take one as 50%.")
        return cls(prune_share, replace(cls.finetune, epochs=epochs))


class Workshop:
    """Makes runners of one network.

    Args:
        target: the network.
        device: where the variants run.
        meter: what to read while they are made.
        folder: where ONNX models are written.
        compression: how to compress.
    """

    def __init__(self, target: Target, device: str, meter: Meter, folder: Path, compression: Compression) -> None:
        self.target = target
        self.preparations: list[Preparation] = []
        self._device = device
        self._meter = meter
        self._folder = folder
        self._compression = compression
        self._modules: dict[str, nn.Module | GreenNASError] = {"none": target.module}
        self._models: dict[tuple[str, str], Path | GreenNASError] = {}
        self._calibration = self._images(CALIBRATION_IMAGES, train=True)
        self._example = self._calibration[0][:2]

    def runner(self, variant: Variant) -> Runner:
        """The variant, ready to run.

        Raises:
            GreenNASError: why it cannot be made here.
        """
        if reason := why_not(variant, self._device, self.target.dataset is not None):
            raise ConfigError(reason)
        module = self.module(variant.compression)
        if variant.runtime == "eager":
            return eager(module, variant.precision, self._device)
        if variant.runtime == "onnxruntime":
            return onnxruntime(self._onnx(variant, module), self._device)
        with self.metered(f"{variant}: export" + (" and calibration" if variant.precision == "int8" else "")):
            return compiled(module, variant.precision, self._device, self._calibration)

    def module(self, compression: str) -> nn.Module:
        """The network, compressed; made once.

        Raises:
            GreenNASError: why it cannot be.
        """
        if compression not in self._modules:
            try:
                self._modules[compression] = (
                    fold_batch_norm(self.target.module) if compression == "folded" else self._pruned()
                )
            except GreenNASError as error:
                self._modules[compression] = error
        return _or_raise(self._modules[compression])

    def batches(self, size: int, count: int) -> list[Tensor]:
        """Held-out images to measure with, ``count`` batches of ``size``, normalised; noise where no data is known."""
        pool = torch.cat(self._images(size * count, train=False))
        needed = torch.arange(size * count) % len(pool)
        return list(torch.split(pool[needed], size))

    def _images(self, count: int, train: bool) -> list[Tensor]:
        dataset = self.target.dataset
        if dataset is None:
            noise = torch.randn(_NOISE_IMAGES, *self.target.input_shape, generator=torch.Generator().manual_seed(0))
            return list(torch.split(noise, _CALIBRATION_BATCH))
        split = (dataset.train if train else dataset.validation).first(count)
        return [images for images, _ in batches_of(split, dataset, _CALIBRATION_BATCH, torch.device("cpu"))]

    def _pruned(self) -> nn.Module:
        dataset, plan, share = self.target.dataset, self._compression.finetune, self._compression.prune_share
        assert dataset is not None  # why_not has seen to it
        what = f"{self.target.name}: pruning of {share:.0%} of the channels, {plan.epochs:g} epochs of fine-tuning"
        pruned = prune_channels(self.target.module, self._example, dataset.num_classes, share)
        with self.metered(what):
            result = train(pruned, dataset, plan, device=self._device)
        last = self.preparations[-1]
        note = f"validation accuracy {result.accuracy:.4f} after it"
        self.preparations[-1] = Preparation(last.what, last.reading, note)
        return pruned.cpu().eval()

    def _onnx(self, variant: Variant, module: nn.Module) -> Path:
        """The variant's ONNX model; int8 is made of the float32 one."""
        key = (variant.compression, variant.precision)
        if key not in self._models:
            stem = "-".join(part for part in (self.target.name, *key) if part != "none")
            file = self._folder / f"{stem}.onnx"
            try:
                if variant.precision == "int8":
                    source = self._onnx(Variant(variant.model, variant.compression, variant.runtime), module)
                    with self.metered(f"{variant}: calibration on {CALIBRATION_IMAGES} training images"):
                        quantize_onnx(source, self._calibration, file)
                else:
                    with self.metered(f"{variant}: export"):
                        whole = copy.deepcopy(module).cpu()
                        write_onnx(exported_program(whole, self.target.input_shape), file)
                self._models[key] = file
            except GreenNASError as error:
                self._models[key] = error
        return _or_raise(self._models[key])

    @contextmanager
    def metered(self, what: str) -> Iterator[None]:
        """Meter a part of the preparations."""
        with self._meter.window() as window:
            yield
        self.preparations.append(Preparation(what, primary(window.readings)))


def _or_raise(made: _Made | GreenNASError) -> _Made:
    if isinstance(made, GreenNASError):
        raise made
    return made
