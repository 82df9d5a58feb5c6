"""PyTorch's own layers as the calls that construct them."""

from __future__ import annotations

import inspect
import json
from typing import Any

import torch
from torch import Tensor, nn

from greennas.errors import ExportError
from greennas.export.python.code import Code, Group, Slot

_MOST_VALUES = 64
"""Values of a tensor that are still written into the code."""
_NOT_ARGUMENTS = ("self", "device", "dtype")


def is_layer(module: nn.Module) -> bool:
    """Whether ``module`` is one of ``torch.nn`` that holds no other modules."""
    kind = type(module)
    return getattr(nn, kind.__name__, None) is kind and not any(True for _ in module.children())


def construction(layer: nn.Module) -> Group:
    """The call that makes a layer like ``layer``; arguments with their default values are left out.

    Raises:
        ExportError: an argument cannot be told from the layer.
    """
    items: list[tuple[str, Code]] = []
    for name, parameter in inspect.signature(type(layer).__init__).parameters.items():
        if name in _NOT_ARGUMENTS or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        if not hasattr(layer, name):
            if required:
                raise ExportError(
                    f"No readable code can be written for the layer {type(layer).__name__}, whose argument {name} is "
                    "unknown; leave out the format python."
                )
            continue
        value = _value(getattr(layer, name), parameter.default)
        if required:
            items.append(("", literal(value, name)))
        elif _whole(value) and _whole(parameter.default):
            # also where it is the default: of layers that differ in it, one is no other kind of layer
            items.append((f"{name}=", Slot(value, name, parameter.default)))
        elif value != parameter.default:
            items.append((f"{name}=", literal(value, name)))
    return Group(f"nn.{type(layer).__name__}(", tuple(items))


def literal(value: Any, hint: str) -> Code:
    """A plain value as code.

    Raises:
        ExportError: it is none.
    """
    if _whole(value):
        return Slot(int(value), hint)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, tuple | list):
        brackets = "()" if isinstance(value, tuple) else "[]"
        items = tuple(("", literal(item, hint)) for item in value)
        closing = ",)" if len(items) == 1 and brackets == "()" else brackets[1]
        return Group(brackets[0], items, closing)
    raise ExportError(f"No readable code can be written for the value {value!r}; leave out the format python.")


def tensor_literal(tensor: Tensor) -> str:
    """A small tensor as code.

    Raises:
        ExportError: it is too large to be read.
    """
    if tensor.numel() > _MOST_VALUES:
        raise ExportError(
            f"No readable code can be written for a tensor of {tensor.numel()} values that are not among the weights; "
            "leave out the format python."
        )
    return f"torch.tensor({tensor.tolist()!r}, dtype={tensor.dtype})"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _value(attribute: Any, default: Any) -> Any:
    """An argument as it would be written: one number for equal ones; ``bias`` as whether there is one."""
    if isinstance(attribute, Tensor) or (attribute is None and isinstance(default, bool)):
        return attribute is not None
    if isinstance(attribute, tuple) and attribute and all(item == attribute[0] for item in attribute):
        return attribute[0]
    return attribute
