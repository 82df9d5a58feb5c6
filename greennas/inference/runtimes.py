"""A network ready to run: in eager torch, through torch.compile, in ONNX Runtime."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor_config

from greennas.compression import quantize_exported
from greennas.errors import ConfigError
from greennas.export.formats import exported_program
from greennas.libraries import load_library, quiet

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Runner:
    """A network ready to run.

    Attributes:
        run: what is metered: maps prepared images to its output.
        prepare: float32 images (B, C, H, W) to what ``run`` takes: layout, precision and device are not metered.
        logits: an output as float32 logits (B, num_classes) on the CPU.
        layout: what prepared images are; runners with the same one can share them.
        weight_bytes: bytes of the weights (of an ONNX model: of its file).
    """

    run: Callable[[Any], Any]
    prepare: Callable[[Tensor], Any]
    logits: Callable[[Any], Tensor]
    layout: str
    weight_bytes: int

    def classify(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, C, H, W)."""
        return self.logits(self.run(self.prepare(images)))


def eager(module: nn.Module, precision: str, device: str) -> Runner:
    """Eager torch, channels last."""
    dtype = _DTYPES[precision]
    moved: Any = copy.deepcopy(module).eval().to(device, dtype)
    return _torch_runner(moved.to(memory_format=torch.channels_last), dtype, device, moved.state_dict().values())


def compiled(module: nn.Module, precision: str, device: str, batches: Sequence[Tensor]) -> Runner:
    """torch.compile of the exported network, compiled anew for each batch size at its first call.

    Args:
        module: the network.
        precision: float32, bfloat16, or int8 (torchao).
        device: where.
        batches: calibration images, for int8, and for the shape of the others.

    Raises:
        ExportError: the network cannot be exported.
        ConfigError: torchao is missing or cannot quantize it.
    """
    dtype = _DTYPES.get(precision, torch.float32)
    moved: Any = copy.deepcopy(module).eval().to(device, dtype)
    _, channels, height, width = batches[0].shape
    with quiet(), torch.no_grad():
        program = exported_program(moved, (channels, height, width))
    # An exported graph has code of its own: torch.compile keeps what it compiled a code object, not a network.
    graph = quantize_exported(program, batches) if precision == "int8" else program.module()
    function = torch.compile(graph, fullgraph=True, dynamic=False)
    seen: set[torch.Size] = set()

    def run(images: Tensor) -> Tensor:
        if images.shape not in seen:
            # Weights are constants of inference: folded, packed for the device, and for int8 not without it.
            with quiet(), inductor_config.patch(freezing=True):
                function(images)
            seen.add(images.shape)
        found: Tensor = function(images)
        return found

    return _torch_runner(run, dtype, device, _graph_weights(graph))


def onnxruntime(file: Path, device: str) -> Runner:
    """An ONNX model of ``greennas.export.formats``; as many threads as torch has, which do not spin while they wait.

    Raises:
        ConfigError: ONNX Runtime is missing, cannot run on the device, or cannot load the model.
    """
    library = load_library("onnxruntime", "onnx", "The runtime onnxruntime")
    provider = "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"
    if provider not in library.get_available_providers():
        raise ConfigError(f"This ONNX Runtime cannot run on {device} (no {provider}); leave it out or run on cpu.")
    options = library.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = library.InferenceSession(str(file), options, providers=[provider])
    except Exception as error:  # onnxruntime has no common root of its errors
        raise ConfigError(
            f"ONNX Runtime cannot load this network ({type(error).__name__}: {error}); leave it out."
        ) from error
    name = session.get_inputs()[0].name
    return Runner(
        run=lambda images: session.run(None, {name: images})[0],
        prepare=lambda images: images.contiguous().cpu().numpy(),
        logits=lambda output: torch.from_numpy(output),
        layout="numpy",
        weight_bytes=file.stat().st_size,
    )


def _graph_weights(graph: torch.fx.GraphModule) -> Iterable[Tensor]:
    """The tensors that a graph uses: a quantized one still holds those that it was made from."""
    names = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    return [found for name in names if isinstance(found := operator.attrgetter(name)(graph), Tensor)]


def _torch_runner(
    run: Callable[[Tensor], Tensor], dtype: torch.dtype, device: str, weights: Iterable[Tensor]
) -> Runner:
    def inference(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return run(images)

    return Runner(
        run=inference,
        prepare=lambda images: images.to(device, dtype).contiguous(memory_format=torch.channels_last),
        logits=lambda output: output.float().cpu(),
        layout=str(dtype),
        weight_bytes=sum(tensor.nbytes for tensor in weights),
    )
