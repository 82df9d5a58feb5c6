"""The whole file ``model.py``: the network's classes, its preprocessing, and how its weights are read."""

from __future__ import annotations

import json
import re

from torch import nn

from greennas.export.description import ModelDescription
from greennas.export.python.classes import definitions

_HEAD = '''"""{title}

    from model import load, preprocess

    network = load()
    logits = network(preprocess(images))  # images: uint8 tensor (B, {channels}, {height}, {width}), values 0..255

Needs PyTorch only; the weights are read from model.safetensors beside this file.
"""

from __future__ import annotations

import json
import math
{ordered_dict}from pathlib import Path

import torch
from torch import Tensor, nn
{functional}
WEIGHTS = Path(__file__).with_name("model.safetensors")
CLASSES = {classes}
MEAN = {mean}  # per channel, in units of 0..1
STD = {std}
DTYPES = {{  # as safetensors names them
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "C64": torch.complex64,
}}

'''
_TAIL = '''
def preprocess(images: Tensor) -> Tensor:
    """Bytes 0..255 (B, {channels}, {height}, {width}) as the floats that the network expects."""
    mean, std = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def load(weights: str | Path = WEIGHTS) -> {name}:
    """The trained network, in evaluation mode."""
    network = {name}()
    network.load_state_dict(read_safetensors(weights))
    return network.eval()


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file: 8 bytes with the header's length, the header in JSON, the values."""
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {{}}
    for name, entry in header.items():
        shape, offset = entry["shape"], start + entry["data_offsets"][0]
        # a copy, since values in the file may not be aligned
        values = data[offset : start + entry["data_offsets"][1]]
        count = math.prod(shape)
        tensors[name] = torch.frombuffer(values, dtype=DTYPES[entry["dtype"]], count=count).reshape(shape)
    return tensors
'''


def python_code(network: nn.Module, description: ModelDescription) -> str:
    """Code of a module with the class of ``network``, ``preprocess(images)`` and ``load()``.

    Args:
        network: in evaluation mode.
        description: what it is and expects.

    Raises:
        ExportError: a part of it has no readable code: its ``forward`` decides by the values of tensors, for example.
    """
    kind = type(network).__name__
    name = "Network" if hasattr(nn, kind) else kind
    channels, height, width = description.input_shape
    sizes = {"channels": channels, "height": height, "width": width}
    summary = f"Images (B, {channels}, {height}, {width}), normalised, to logits (B, {description.num_classes})."
    classes = "\n\n".join(definitions(network, name, summary))
    head = _HEAD.format(
        title=_title(description),
        ordered_dict="from collections import OrderedDict\n" if "OrderedDict(" in classes else "",
        functional="from torch.nn import functional as F\n" if re.search(r"\bF\.", classes) else "",
        classes=_tuple(description.class_names),
        mean=_tuple(description.mean),
        std=_tuple(description.std),
        **sizes,
    )
    return f"{head}\n{classes}\n{_TAIL.format(name=name, **sizes)}"


def _title(description: ModelDescription) -> str:
    architecture = description.architecture
    space = re.sub(r"[^\w.-]", "", architecture.space.rpartition("/")[2])
    data = re.sub(r"[^\w.:/-]", "", description.data_title)
    return f"Network {architecture.id} of the search space {space}, trained on {data}: images to logits of classes."


def _tuple(values: tuple[float | str, ...]) -> str:
    written = [json.dumps(value, ensure_ascii=False) for value in values]
    line = "(" + ", ".join(written) + (",)" if len(written) == 1 else ")")
    return line if len(line) < 88 else "(\n" + "".join(f"    {value},\n" for value in written) + ")"
