"""A program of its own: loads exported files as somebody without GreenNAS would, and compares what they say.

    python -I checker.py FOLDER EXPECTED.npz FORMAT...

EXPECTED has images (N, C, H, W) uint8, mean and std per channel, and the checkpoint's logits (N, classes). Prints, by
format, the largest difference of the logits and the share of images whose predicted class is the same, as JSON.
"""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Images = np.ndarray[Any, np.dtype[Any]]
_BATCHES = (1, 2, 61, 256)
"""Sizes that are taken in turns, so that a batch size that was frozen shows."""
_PIXELS = 256 * 64 * 64  # of a batch: fewer large images fit into memory


def main(folder: Path, expected: Path, formats: list[str]) -> None:
    """Compare ``formats`` in ``folder`` with ``expected``, and print the result."""
    for name in ("greennas", "search_spaces"):
        sys.modules[name] = None  # type: ignore[assignment]  # whatever imports it fails
    with np.load(expected, allow_pickle=False) as file:
        images, mean, std, logits = (file[name] for name in ("images", "mean", "std", "logits"))
    found = {name: _compare(_LOADERS[name](folder, mean, std), images, logits) for name in formats}
    print(json.dumps(found))


def _compare(run: Callable[[Images], Images], images: Images, logits: Images) -> dict[str, float]:
    outputs, start, turn = [], 0, 0
    most = max(4, _PIXELS // (images.shape[2] * images.shape[3]))
    while start < len(images):
        size = min(most, _BATCHES[min(turn, len(_BATCHES) - 1)])
        outputs.append(run(images[start : start + size]))
        start, turn = start + size, turn + 1
    found = np.concatenate(outputs)
    if found.shape != logits.shape:
        raise SystemExit(f"the logits have the shape {found.shape}, not {logits.shape}")
    return {
        "difference": float(np.abs(found.astype(np.float64) - logits).max()),
        "agreement": float((found.argmax(1) == logits.argmax(1)).mean()),
    }


def _normalised(images: Images, mean: Images, std: Images) -> Images:
    shift, scale = (values.reshape(1, -1, 1, 1).astype(np.float32) for values in (mean, std))
    return np.asarray((images.astype(np.float32) / np.float32(255) - shift) / scale, dtype=np.float32)


def _python(folder: Path, mean: Images, std: Images) -> Callable[[Images], Images]:
    import torch

    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    network = model.load()

    def run(images: Images) -> Images:
        with torch.inference_mode():
            return np.asarray(network(model.preprocess(torch.from_numpy(images))).numpy())

    return run


def _pt2(folder: Path, mean: Images, std: Images) -> Callable[[Images], Images]:
    import torch

    network = torch.export.load(folder / "model.pt2").module()

    def run(images: Images) -> Images:
        with torch.no_grad():
            return np.asarray(network(torch.from_numpy(_normalised(images, mean, std))).numpy())

    return run


def _onnx(folder: Path, mean: Images, std: Images) -> Callable[[Images], Images]:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["logits"], {"images": _normalised(images, mean, std)})[0])


_LOADERS = {"python": _python, "pt2": _pt2, "onnx": _onnx}

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
