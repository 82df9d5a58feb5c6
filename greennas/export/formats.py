"""A network as ONNX and as PyTorch's exported program; both take batches of any size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from greennas.errors import ExportError
from greennas.space import InputShape

INSTALL = 'pip install "greennas[onnx]"'


def exported_program(network: nn.Module, input_shape: InputShape) -> ExportedProgram:
    """``network`` as PyTorch's exported program, for batches of any size, on its device and in its precision.

    Raises:
        ExportError: it cannot be exported: it decides by the values of tensors, for example.
    """
    # Two images: one alone would make the batch a constant. A tensor of its own, since a view's base would be saved.
    like = next((each for each in network.parameters() if each.is_floating_point()), torch.zeros(()))
    example = torch.zeros(2, *input_shape, dtype=like.dtype, device=like.device)
    with _exporting("pt2 or onnx"):
        return torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def write_pt2(program: ExportedProgram, file: Path) -> None:
    """Write ``program``; ``torch.export.load`` reads it without the network's code.

    Raises:
        ExportError: it cannot be written.
    """
    with _exporting("pt2"):
        torch.export.save(program, file)


def write_onnx(program: ExportedProgram, file: Path) -> None:
    """Write ``program`` as ONNX; input ``images``, output ``logits``.

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
            program,
            f=file,
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )


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
