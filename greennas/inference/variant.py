"""One way to run a trained network: compressed or not, in a runtime, in a precision."""

from __future__ import annotations

import platform
from dataclasses import dataclass

COMPRESSIONS = ("none", "folded", "pruned")
RUNTIMES = ("eager", "compile", "onnxruntime")
PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Variant:
    """One way to run a network.

    Attributes:
        model: name of the network.
        compression: of ``COMPRESSIONS``.
        runtime: of ``RUNTIMES``: torch eager, torch.compile, ONNX Runtime.
        precision: of ``PRECISIONS``.
    """

    model: str
    compression: str = "none"
    runtime: str = "eager"
    precision: str = "float32"

    def __str__(self) -> str:
        parts = [self.model, self.compression, self.runtime, self.precision]
        return ", ".join(part for part in parts if part != "none")


def why_not(variant: Variant, device: str, has_data: bool) -> str | None:
    """Why a variant cannot be built at all, as a sentence; None where it can be tried."""
    cpu = device == "cpu"
    if variant.compression == "folded" and variant.runtime != "eager":
        return "torch.compile and ONNX Runtime fold batch norm by themselves."
    if variant.precision == "int8" and variant.runtime == "eager":
        return "Eager torch has no int8 convolutions; they run in onnxruntime and in compile."
    if variant.precision == "int8" and variant.runtime == "compile" and not (cpu and platform.machine() == "x86_64"):
        return "torchao's int8 convolutions are compiled for x86 CPUs only."
    if variant.precision == "bfloat16" and variant.runtime == "onnxruntime":
        return "ONNX Runtime has no bfloat16 convolutions for this device."
    if variant.precision == "int8" and not has_data:
        return "int8 is calibrated on training images; name the data set with --data."
    if variant.compression == "pruned" and not has_data:
        return "A pruned network is fine-tuned on training images; name the data set with --data."
    return None
