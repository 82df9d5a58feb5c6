"""A network as ONNX and as PyTorch's exported program; both take batches of any size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from greennas.errors import ExportError
from greennas.space import InputShape

INSTALL = 'pip install "greennas[onnx]"'
INPUT, OUTPUT = "images", "logits"


def write_onnx(network: nn.Module, input_shape: InputShape, file: Path) -> None:
    """Write ``network`` as ONNX, through ``torch.export``; input ``images``, output ``logits``.

    Raises:
        ExportError: the packages onnx, onnxscript and onnxruntime are missing, or the network has no ONNX form.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"The format onnx needs the package {error.name}; run {INSTALL}.") from error
    with _exporting("onnx"):
        torch.onnx.export(
            network,
            (_example(input_shape),),
            file,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=_any_batch(),
            external_data=False,
            verbose=False,
        )


def write_pt2(network: nn.Module, input_shape: InputShape, file: Path) -> None:
    """Write ``network`` as an exported program, which ``torch.export.load`` reads without the network's code.

    Raises:
        ExportError: the network cannot be exported.
    """
    with _exporting("pt2"):
        program = torch.export.export(network, (_example(input_shape),), dynamic_shapes=_any_batch())
        torch.export.save(program, file)


def _example(input_shape: InputShape) -> Tensor:
    """Two images: one alone would make the batch a constant. A tensor of its own, since a view's base is saved."""
    return torch.zeros(2, *input_shape)


def _any_batch() -> tuple[dict[int, torch.export.Dim], ...]:
    return ({0: torch.export.Dim("batch")},)


@contextmanager
def _exporting(form: str) -> Iterator[None]:
    """Without the exporters' chatter on what is not used here, and with one sentence where they fail."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"The network has no {form} form ({type(error).__name__}: {first}); choose other formats."
        ) from error
    finally:
        logger.setLevel(level)
