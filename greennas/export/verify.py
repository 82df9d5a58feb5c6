"""Whether exported files are the network that they were made from: loaded again in a fresh process, and compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from greennas.data import AnySplit, Dataset, StreamedSplit
from greennas.errors import ExportError
from greennas.export import checker
from greennas.export.description import ModelDescription
from greennas.export.pretrained import load_model
from greennas.training.batches import batches_of, evaluation_batch_size
from greennas.training.loop import failures
from greennas.training.weights import evaluating

MAX_DIFFERENCE = 1e-4
"""Of float32 logits; where the largest logit is above 1, in units of it."""
MIN_AGREEMENT = 0.999
"""Share of the images whose predicted class must be the same."""
_STREAMED_IMAGES = 1024
_WITHOUT_TORCH = "onnx"
_SECONDS = 600


@dataclass(frozen=True)
class Check:
    """How an exported file compares with the checkpoint.

    Attributes:
        format: of the file.
        images: how many of the test split were compared.
        difference: largest absolute difference of a logit.
        allowed: largest difference that rounding may explain.
        agreement: share of the images with the same predicted class.
    """

    format: str
    images: int
    difference: float
    allowed: float
    agreement: float

    @property
    def same(self) -> bool:
        """Whether it is the same network."""
        return self.difference <= self.allowed and self.agreement >= MIN_AGREEMENT

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)


def verify(network: nn.Module, dataset: Dataset, folder: Path, formats: Sequence[str]) -> list[Check]:
    """The checks of ``compare``, all of them passed.

    Raises:
        ExportError: a file cannot be loaded, or it is not the same network.
    """
    checks = compare(network, dataset, folder, formats)
    for check in checks:
        if not check.same:
            raise ExportError(
                f"The exported {check.format} is not the network of the checkpoint: its logits differ by up to "
                f"{check.difference:.3g} ({check.allowed:.3g} is allowed) and {check.agreement:.2%} of "
                f"{check.images:,} test images get the same class; nothing was written."
            )
    return checks


def compare(network: nn.Module, dataset: Dataset, folder: Path, formats: Sequence[str]) -> list[Check]:
    """Compare files of a model folder with ``network`` on the test split, or on 1,024 images of a streamed one.

    ``onnx``, ``pt2`` and ``python`` are loaded in fresh processes that cannot import GreenNAS; ``pytorch``, which is
    GreenNAS's own, by ``from_pretrained``. The test split is no judge of the network here: labels are not looked at.

    Args:
        network: the checkpoint's, on the CPU.
        dataset: with its test split.
        folder: with the files.
        formats: "pytorch", "onnx", "pt2", "python".

    Raises:
        ExportError: a file cannot be loaded.
    """
    assert dataset.test is not None
    streamed = isinstance(dataset.test, StreamedSplit)
    test = (dataset.test.first(_STREAMED_IMAGES) if streamed else dataset.test).in_memory()
    logits = logits_of(network, test, dataset)
    found: dict[str, dict[str, float]] = {}
    if "pytorch" in formats:
        again, description = load_model(folder)
        _check_preprocessing(dataset, description)
        found["pytorch"] = _compared(logits_of(again, test, dataset), logits)
    with tempfile.TemporaryDirectory(prefix="greennas-") as temporary:
        expected = Path(temporary) / "expected.npz"
        np.savez(
            expected,
            images=test.images.numpy(),
            mean=np.array(dataset.mean),
            std=np.array(dataset.std),
            logits=logits.numpy(),
        )
        for group in ([f for f in formats if f in ("python", "pt2")], [f for f in formats if f == _WITHOUT_TORCH]):
            if group:
                found |= _fresh_process(folder, expected, group)
    allowed = MAX_DIFFERENCE * max(1.0, float(logits.abs().max()))
    return [Check(each, len(logits), allowed=allowed, **found[each]) for each in formats]


def logits_of(network: nn.Module, split: AnySplit, dataset: Dataset) -> Tensor:
    """Logits (N, classes) of all images of ``split`` in float32, on the CPU."""
    device = torch.device("cpu")
    size = evaluation_batch_size(device, split.image_shape)
    with failures(), evaluating(network), torch.inference_mode():
        return torch.cat([network(images).float() for images, _ in batches_of(split, dataset, size, device)])


def _compared(found: Tensor, expected: Tensor) -> dict[str, float]:
    return {
        "difference": float((found - expected).abs().max()),
        "agreement": float((found.argmax(1) == expected.argmax(1)).float().mean()),
    }


def _check_preprocessing(dataset: Dataset, description: ModelDescription) -> None:
    if (description.mean, description.std) != (dataset.mean, dataset.std):
        raise ExportError(
            f"The exported network normalises images otherwise than the data set {dataset.name}; compare it with the "
            "data set that it was trained on."
        )


def _fresh_process(folder: Path, expected: Path, formats: Sequence[str]) -> dict[str, dict[str, float]]:
    """By format: what the checker found, once more one by one where it failed, to name the format."""
    command = [sys.executable, "-IB", checker.__file__, str(folder), str(expected), *formats]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            command, cwd=expected.parent, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        if done.returncode == 0:
            found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
            return found
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        reason = str(error)
    if len(formats) > 1:
        return {name: one for each in formats for name, one in _fresh_process(folder, expected, [each]).items()}
    raise ExportError(
        f"The exported {formats[0]} cannot be loaded without GreenNAS ({reason}); nothing was written: leave out the "
        f"format {formats[0]}, by naming others with --format."
    )
