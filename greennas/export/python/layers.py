"""PyTorch's own layers as the calls that construct them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from greennas.errors import ExportError
from greennas.export.python.code import Code, Group, Slot

_MOST_VALUES = 64
"""Values of a tensor that are still written into the code."""
_NOT_ARGUMENTS = ("self", "device", "dtype")
_BY_SIDE = {"kernel_size", "stride", "padding", "dilation", "output_padding", "output_size", "size", "scale_factor"}
"""Arguments of convolutions, pooling, padding and upsampling: one number means the same as equal ones."""
_UNDER_OTHER_NAMES: dict[type[nn.Module], dict[str, str]] = {
    nn.MultiheadAttention: {"bias": "in_proj_bias", "add_bias_kv": "bias_k"},
}
"""Arguments that a layer keeps as attributes of other names."""


def is_layer(module: nn.Module) -> bool:
    """Whether ``module`` is one of ``torch.nn`` that holds no other modules, but for those that belong to it."""
    kind = type(module)
    if kind is nn.MultiheadAttention:
        return True  # its projection is a part of it
    return getattr(nn, kind.__name__, None) is kind and not any(True for _ in module.children())


def refuse_changed(module: nn.Module) -> None:
    """Refuse a module that does more than its ``forward`` says.

    Raises:
        ExportError: it has parametrizations or hooks.
    """
    found = ""
    if parametrize.is_parametrized(module):
        assert isinstance(module.parametrizations, nn.ModuleDict)
        found = f"the parametrization of its {' and '.join(module.parametrizations)} (weight_norm and the like)"
    elif module._forward_hooks or module._forward_pre_hooks:
        found = "its hooks (the older weight_norm, pruning and the like)"
    if found:
        kind = parametrize.type_before_parametrizations(module).__name__
        raise ExportError(
            f"No readable code can be written for {kind}, because of {found}; leave out the format python."
        )


def construction(layer: nn.Module) -> Group:
    """The call that makes a layer like ``layer``; arguments with their default values are left out.

    Raises:
        ExportError: an argument cannot be told from the layer.
    """
    items: list[tuple[str, Code]] = []
    names = _UNDER_OTHER_NAMES.get(type(layer), {})
    for name, parameter in _arguments(type(layer)).items():
        if name in _NOT_ARGUMENTS or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        attribute = names.get(name, name)
        if not hasattr(layer, attribute):
            if required:
                raise ExportError(
                    f"No readable code can be written for the layer {type(layer).__name__}, whose argument {name} is "
                    "unknown; leave out the format python."
                )
            continue
        value = _value(name, getattr(layer, attribute), parameter.default)
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
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, float):
        return _finite(repr(float(value)))  # NumPy's floats have a repr of their own
    if isinstance(value, torch.dtype | torch.memory_format):
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
    return f"torch.tensor({_finite(repr(tensor.tolist()))}, dtype={tensor.dtype})"


def empty(tensor: Tensor) -> Group:
    """A tensor like ``tensor``, whose values will be read from the weights."""
    sides: tuple[tuple[str, Code], ...] = tuple(("", literal(int(side), "size")) for side in tensor.shape)
    dtype = () if tensor.dtype == torch.float32 else (("dtype=", str(tensor.dtype)),)
    return Group("torch.empty(", (*(sides or (("", "()"),)), *dtype))


def _finite(numbers: str) -> str:
    """Numbers as Python can read them."""
    return re.sub(r"-?\b(inf|nan)\b", r'float("\g<0>")', numbers)


def _arguments(kind: type[nn.Module]) -> Mapping[str, inspect.Parameter]:
    """The arguments that construct a layer; recurrent ones do not name theirs."""
    if not issubclass(kind, nn.RNNBase):
        return inspect.signature(kind.__init__).parameters
    known = dict(inspect.signature(nn.RNNBase.__init__).parameters)
    known["nonlinearity"] = known.pop("mode").replace(default="tanh")
    return known


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _value(name: str, attribute: Any, default: Any) -> Any:
    """An argument as it would be written: one number where it says the same; ``bias`` as whether there is one."""
    if isinstance(attribute, Tensor) or (attribute is None and isinstance(default, bool)):
        return attribute is not None
    if isinstance(attribute, tuple) and attribute and all(item == attribute[0] for item in attribute):
        one = name in _BY_SIDE or (name == "normalized_shape" and len(attribute) == 1)
        return attribute[0] if one else attribute
    return attribute
