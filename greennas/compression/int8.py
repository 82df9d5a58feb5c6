"""int8 with scales from calibration images: convolutions in ONNX Runtime, all weighted layers through torchao."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from greennas.errors import ConfigError
from greennas.libraries import load_library, quiet

INPUT = "images"
"""Name of the input, as ``greennas.export.formats`` gives it."""


def quantize_onnx(model: Path, batches: Sequence[Tensor], to: Path) -> None:
    """Write an int8 version of an ONNX model: static quantization of its convolutions (QDQ format).

    Activations are uint8 with one scale a tensor, weights int8 with one scale an output channel: signed activations are
    slower, and quantizing sums and poolings, too, costs accuracy and gains nothing.

    Args:
        model: as ``greennas.export.formats`` writes it.
        batches: calibration images, (B, C, H, W), normalised; training images, since the scales are fitted to them.
        to: the file to write.

    Raises:
        ConfigError: ONNX Runtime is missing or cannot quantize this model.
    """
    quantization = load_library("onnxruntime.quantization", "onnx", "int8 in ONNX Runtime")
    preparation = load_library("onnxruntime.quantization.shape_inference", "onnx", "int8 in ONNX Runtime")
    prepared = to.with_suffix(".prepared.onnx")
    try:
        with quiet():
            preparation.quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(to),
                _reader(quantization, batches),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["Conv"],
            )
    except Exception as error:  # onnx and onnxruntime raise whatever their parts do
        raise ConfigError(
            f"ONNX Runtime cannot quantize this network ({type(error).__name__}: {error}); leave its int8 out."
        ) from error
    finally:
        prepared.unlink(missing_ok=True)


def quantize_exported(program: torch.export.ExportedProgram, batches: Sequence[Tensor]) -> torch.fx.GraphModule:
    """An int8 version of an exported network for ``torch.compile`` on an x86 CPU (torchao, PT2E).

    Activations are uint8, weights int8 a channel. Run without ``torch.compile`` it only imitates int8 and is slow.

    Args:
        program: the network, exported in evaluation mode.
        batches: calibration images as for ``quantize_onnx``.

    Raises:
        ConfigError: torchao is missing or cannot quantize this network.
    """
    steps = load_library("torchao.quantization.pt2e.quantize_pt2e", "compress", "int8 through torch.compile")
    x86 = load_library(
        "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer", "compress", "int8 through torch.compile"
    )
    pt2e = load_library("torchao.quantization.pt2e", "compress", "int8 through torch.compile")
    if any(_reused_before_norm(node) for node in program.graph.nodes):
        raise ConfigError(
            "torchao folds batch norm wrongly into a convolution whose output is used elsewhere, too, as it is here; "
            "leave int8 with compile out."
        )
    try:
        with quiet(), torch.no_grad():
            quantizer = x86.X86InductorQuantizer()
            quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
            observed = steps.prepare_pt2e(program.module(), quantizer)
            for images in batches:
                observed(images)
            converted: torch.fx.GraphModule = steps.convert_pt2e(observed)
            pt2e.move_exported_model_to_eval(converted)
    except Exception as error:  # torchao raises whatever its parts do
        raise ConfigError(
            f"torchao cannot quantize this network ({type(error).__name__}: {error}); leave int8 with compile out."
        ) from error
    return converted


def _reused_before_norm(node: torch.fx.Node) -> bool:
    """Whether a convolution's output is used by batch norm and by something else (seen with torchao 0.18)."""
    users = [str(user.target) for user in node.users]
    return "conv" in str(node.target) and len(users) > 1 and any("batch_norm" in user for user in users)


def _reader(quantization: Any, batches: Sequence[Tensor]) -> Any:
    """The batches as ONNX Runtime's calibration wants to read them."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches: Iterator[Tensor] = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            images = next(self._batches, None)
            return None if images is None else {INPUT: images.contiguous().cpu().numpy()}

    return Reader()
