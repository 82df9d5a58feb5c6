"""Smaller or cheaper versions of a trained network: batch norm folded, channels pruned, int8."""

from greennas.compression.folding import fold_batch_norm
from greennas.compression.int8 import quantize_exported, quantize_onnx
from greennas.compression.pruning import prune_channels

__all__ = ["fold_batch_norm", "prune_channels", "quantize_exported", "quantize_onnx"]
