"""The statements of a module's ``forward``, from a symbolic trace in which its submodules stay calls."""

from __future__ import annotations

import builtins
import keyword
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from greennas.errors import ExportError
from greennas.export.python.code import Line, Slot, one_line
from greennas.export.python.layers import literal, tensor_literal

Parts = tuple[str | Slot, ...]
_ATOM = 100
_POWER = 40
_SIGNED = 30
_COMPARED = 0
_CONSTANT = "_tensor_constant"
"""What the tracer calls a tensor that ``forward`` makes out of plain numbers."""
_WIDTH = "width"
_LONGEST = 88
"""Characters of an expression that is still written inside of another one."""
_INFIX: dict[Callable[..., Any], tuple[str, int]] = {
    operator.add: ("+", 10),
    operator.iadd: ("+", 10),
    operator.sub: ("-", 10),
    operator.mul: ("*", 20),
    operator.imul: ("*", 20),
    operator.truediv: ("/", 20),
    operator.floordiv: ("//", 20),
    operator.matmul: ("@", 20),
    operator.mod: ("%", 20),
    operator.pow: ("**", _POWER),
    operator.lshift: ("<<", 8),
    operator.rshift: (">>", 8),
    operator.and_: ("&", 6),
    operator.xor: ("^", 4),
    operator.or_: ("|", 2),
    operator.eq: ("==", _COMPARED),
    operator.ne: ("!=", _COMPARED),
    operator.lt: ("<", _COMPARED),
    operator.le: ("<=", _COMPARED),
    operator.gt: (">", _COMPARED),
    operator.ge: (">=", _COMPARED),
}
_PREFIX: dict[Callable[..., Any], str] = {operator.neg: "-", operator.pos: "+", operator.invert: "~"}
_LIBRARIES = {
    "torch": torch,
    "F": F,
    "math": math,
    "torch.linalg": torch.linalg,
    "torch.fft": torch.fft,
    "torch.special": torch.special,
}
_TAKEN = {"torch", "F", "nn", "math", "self", "float", "getattr"}
"""Names that the code itself needs."""


@dataclass(frozen=True)
class Forward:
    """A ``forward``: its arguments' names and its statements."""

    arguments: tuple[str, ...]
    statements: tuple[Line, ...]


def forward_of(module: nn.Module) -> Forward:
    """What ``module`` does with its input, in evaluation mode.

    Raises:
        ExportError: it cannot be traced (it decides by the values of tensors, for example), or it calls what is not
            of PyTorch.
    """
    try:
        graph = _Tracer().trace(module)
    except Exception as error:
        raise ExportError(
            f"No readable code can be written for {type(module).__name__}, which cannot be traced "
            f"({' '.join(str(error).split())[:200]}); leave out the format python."
        ) from error
    try:
        return _Writer(module).write(graph)
    finally:
        for name in [name for name in vars(module) if name.startswith(_CONSTANT)]:
            delattr(module, name)  # the tracer left it there


class _Tracer(fx.Tracer):
    """Keeps every submodule as one call, and what is a buffer as the buffer's name."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class _Expression:
    """Code of a node, how tightly it binds, and whether it is only a name."""

    parts: Parts
    binding: int = _ATOM
    name: bool = False


class _Writer:
    """Writes statements; what is used once, next, is written where it is used, in the order of execution."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._known: dict[fx.Node, _Expression] = {}
        self._pending: list[fx.Node] = []
        self._names = set(_TAKEN)
        self._statements: list[Line] = []

    def write(self, graph: fx.Graph) -> Forward:
        arguments = []
        for node in graph.nodes:
            if node.op == "placeholder":
                if node.args:
                    self._refuse(f"optional arguments of forward ({node.target})")
                arguments.append(str(node.target))
                self._names.add(str(node.target))
                self._known[node] = _Expression((str(node.target),), name=True)
            elif node.op == "output":
                self._place(node)
                self._statements.append(Line(("return ", *self._argument(node.args[0]))))
            else:
                self._node(node)
        return Forward(tuple(arguments), tuple(self._statements))

    def _node(self, node: fx.Node) -> None:
        if node.op == "get_attr":
            self._known[node] = _Expression((self._attribute(str(node.target)),), name=True)
            return
        inside = self._place(node)
        expression = self._expression(node)
        if inside and _length(expression) > _LONGEST:
            self._pending += inside
            self._assign()
            expression = self._expression(node)
        self._known[node] = expression
        self._pending.append(node)
        if _uses(node) != 1 or _length(expression) > _LONGEST:
            self._assign()

    def _attribute(self, target: str) -> str:
        """A parameter or buffer by its name, and any other tensor by its values."""
        owner, _, name = target.rpartition(".")
        module = self._module.get_submodule(owner)
        if name in module._parameters or name in module._buffers:
            return path(self._module, target)
        return tensor_literal(getattr(module, name))

    def _place(self, node: fx.Node) -> list[fx.Node]:
        """What is written inside of ``node``: all that it takes, if that is what comes last, in this order.

        Else what is pending gets names.
        """
        taken = [each for each in node.all_input_nodes if not self._known[each].name]
        if taken and self._pending[-len(taken) :] == taken:
            del self._pending[-len(taken) :]
            return taken
        if taken:
            self._assign()
        return []

    def _assign(self) -> None:
        for node in self._pending:
            name = self._fresh(node)
            parts = self._known[node].parts
            statement: Parts = (f"{name} = ", *parts) if node.users else parts
            self._statements.append(Line(statement))
            self._known[node] = _Expression((name,), name=True)
        self._pending = []

    def _fresh(self, node: fx.Node) -> str:
        base = re.sub(r"_\d+$", "", node.name) if node.op != "call_module" else node.name
        base = re.sub(r"^_(\d)", r"layer_\1", base)
        name, number = base, 1
        while name in self._names or keyword.iskeyword(name):
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name

    def _expression(self, node: fx.Node) -> _Expression:
        args, kwargs = node.args, node.kwargs
        if node.op == "call_module":
            return self._call((path(self._module, str(node.target)),), args, kwargs)
        if node.op == "call_method":
            owner = self._known[args[0]] if isinstance(args[0], fx.Node) else _Expression(self._argument(args[0]))
            return self._call((*_bound(owner, _ATOM), f".{node.target}"), args[1:], kwargs)
        target = node.target
        assert callable(target)
        if target in _INFIX and len(args) == 2:
            sign, binding = _INFIX[target]
            left, right = (self._operand(arg) for arg in args)
            # comparisons are no chains, and powers are taken from the right
            first = binding + 1 if binding in (_COMPARED, _POWER) else binding
            second = _SIGNED if binding == _POWER else binding + 1
            return _Expression((*_bound(left, first), f" {sign} ", *_bound(right, second)), binding)
        if target in _PREFIX:
            return _Expression((_PREFIX[target], *_bound(self._operand(args[0]), _SIGNED)), _SIGNED)
        if target is operator.getitem:
            return _Expression((*_bound(self._operand(args[0]), _ATOM), "[", *self._index(args[1]), "]"))
        if target is builtins.getattr:
            return _Expression((*_bound(self._operand(args[0]), _ATOM), f".{args[1]}"))
        return self._call((self._function(target),), args, kwargs)

    def _function(self, target: Callable[..., Any]) -> str:
        name = getattr(target, "__name__", "")
        for prefix, library in _LIBRARIES.items():
            known = name.removeprefix(prefix.removeprefix("torch.") + "_")  # as in linalg_vector_norm
            if getattr(library, known, None) is target:
                return f"{prefix}.{known}"
        return self._refuse(f"the function {name or repr(target)}")

    def _call(self, function: Parts, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Expression:
        parts: list[str | Slot] = [*function, "("]
        for position, (key, value) in enumerate([*(("", arg) for arg in args), *kwargs.items()]):
            parts += [", "] if position else []
            parts += [f"{key}="] if key else []
            parts += self._argument(value)
        return _Expression((*parts, ")"))

    def _operand(self, value: Any) -> _Expression:
        if isinstance(value, fx.Node):
            return self._known[value]
        parts = tuple(replace(part, operand=True) if isinstance(part, Slot) else part for part in self._argument(value))
        negative = isinstance(value, int | float) and str(value).startswith("-")
        return _Expression(parts, _SIGNED if negative else _ATOM)

    def _argument(self, value: Any) -> Parts:
        if isinstance(value, fx.Node):
            return self._known[value].parts
        if isinstance(value, list | tuple):
            parts: list[str | Slot] = ["[" if isinstance(value, list) else "("]
            for position, item in enumerate(value):
                parts += [", "] if position else []
                parts += self._argument(item)
            last = "]" if isinstance(value, list) else ",)" if len(value) == 1 else ")"
            return (*parts, last)
        code = literal(value, "size")
        assert isinstance(code, str | Slot)
        return (code,)

    def _index(self, index: Any) -> Parts:
        if isinstance(index, tuple):
            parts: list[str | Slot] = []
            for position, item in enumerate(index):
                parts += [", "] if position else []
                parts += self._index(item)
            return tuple(parts)
        if isinstance(index, slice):
            start, stop, step = (self._end(each) for each in (index.start, index.stop, index.step))
            return (*start, ":", *stop, *((":", *step) if step else ()))
        return ("...",) if index is Ellipsis else self._argument(index)

    def _end(self, value: Any) -> Parts:
        """An end of a slice, often a number of channels."""
        if value is None:
            return ()
        return (Slot(value, _WIDTH),) if isinstance(value, int) else self._argument(value)

    def _refuse(self, what: str) -> str:
        raise ExportError(
            f"No readable code can be written for {type(self._module).__name__}, because of {what}; "
            "leave out the format python."
        )


def path(module: nn.Module, target: str) -> str:
    """``self.edges[0]`` for ``edges.0`` of ``module``."""
    found = "self"
    owner: Any = module
    for step in target.split("."):
        if isinstance(owner, nn.ModuleDict | nn.ParameterDict):
            found += f'["{step}"]'
        elif step.isidentifier() and not keyword.iskeyword(step):
            found += f".{step}"
        else:
            by_number = isinstance(owner, nn.ModuleList | nn.Sequential | nn.ParameterList)
            found = f"{found}[{step}]" if by_number else f'getattr({found}, "{step}")'
        owner = getattr(owner, step)
    return found


def _length(expression: _Expression) -> int:
    # the end of a slice may become an argument of the class, as in x[:, :self.out_channels]
    return len(one_line(Line(expression.parts), lambda slot: 20 * "x" if slot.hint == _WIDTH else str(slot.value)))


def _uses(node: fx.Node) -> int:
    found: list[fx.Node] = []
    for user in node.users:
        fx.node.map_arg((user.args, user.kwargs), found.append)
    return found.count(node)


def _bound(expression: _Expression, binding: int) -> Parts:
    return expression.parts if expression.binding >= binding else ("(", *expression.parts, ")")
