"""A network's modules as classes and functions: what differs in integers alone becomes one class with arguments."""

from __future__ import annotations

import inspect
import itertools
import json
import keyword
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from greennas.export.python.code import LINE, Code, Group, Slot, one_line, printed, skeleton, slots
from greennas.export.python.forward import Forward, forward_of
from greennas.export.python.layers import construction, empty, is_layer, literal, refuse_changed, tensor_literal

_SHORT = {"Conv2d": "conv", "BatchNorm2d": "bn", "Linear": "linear", "ReLU": "relu", "ReLU6": "relu6"}
_LONGEST_NAME = 28
_CHANNELS = {"in_channels", "out_channels", "num_features", "num_channels", "channels", "hidden_channels"}


@dataclass(frozen=True)
class _Body:
    """What a module is made of: its parts by name, and what it does with its input where that is not one by one."""

    parts: tuple[tuple[str, Code], ...]
    forward: Forward | None

    def pieces(self) -> list[Code]:
        return [code for _, code in self.parts] + list(self.forward.statements if self.forward else ())

    def key(self) -> tuple[object, ...]:
        names = tuple(name for name, _ in self.parts)
        arguments = self.forward.arguments if self.forward else ()
        return (names, arguments, *map(skeleton, self.pieces()))

    def slots(self) -> list[Slot]:
        return [slot for piece in self.pieces() for slot in slots(piece)]


def definitions(network: nn.Module, name: str, summary: str) -> list[str]:
    """Code of all functions and classes that ``network`` needs, its own class last.

    Args:
        network: in evaluation mode.
        name: of its class.
        summary: docstring of its class.

    Raises:
        ExportError: a part of it has no readable code.
    """
    return _Definitions().of(network, name, summary)


class _Definitions:
    def __init__(self) -> None:
        self._calls: dict[int, Group] = {}
        self._places: dict[int, tuple[type[nn.Module], str]] = {}
        self._written: list[str] = []
        self._names: set[str] = {"load", "preprocess", "read_safetensors"}

    def of(self, network: nn.Module, name: str, summary: str) -> list[str]:
        for part in network.modules():
            refuse_changed(part)
        self._names.add(name)
        levels: dict[int, list[nn.Module]] = {}
        self._height(network, levels)
        for height in sorted(levels):
            groups: dict[tuple[object, ...], list[tuple[nn.Module, _Body]]] = {}
            for module in levels[height]:
                if module is not network:
                    body = self._body(module)
                    groups.setdefault((type(module), *body.key()), []).append((module, body))
            for members in groups.values():
                self._define(members)
        body = self._body(network)
        self._write_class(network, name, [body], _Parameters([body.slots()]), summary)
        return self._written

    def _define(self, members: Sequence[tuple[nn.Module, _Body]]) -> None:
        """One function or class for modules that differ in integers alone."""
        first, body = members[0]
        plain = type(first) is nn.Sequential
        places = {self._places[id(module)] for module, _ in members}
        if plain and (len(members) == 1 or len(body.parts) < 2 or len(places) == 1):
            for module, own in members:
                self._calls[id(module)] = _sequential(own.parts)
            return
        bodies = [own for _, own in members]
        parameters = _Parameters([own.slots() for own in bodies])
        name = self._fresh(_function_name(first) if plain else type(first).__name__)
        if plain:
            self._write_function(name, body, parameters)
        else:
            self._write_class(first, name, bodies, parameters)
        for (module, _), values in zip(members, parameters.values, strict=True):
            arguments: list[tuple[str, Code]] = []
            for value, (argument, default) in zip(values, parameters.defaults.items(), strict=True):
                by_position = argument.endswith(("channels", "features")) and not any(key for key, _ in arguments)
                prefix = "" if by_position else f"{argument}="
                arguments.append((prefix, Slot(value, argument, default)))
            self._calls[id(module)] = Group(f"{name}(", tuple(arguments))

    def _height(self, module: nn.Module, levels: dict[int, list[nn.Module]]) -> int:
        """How deeply modules with code of their own are nested in this one; sorts them by that."""
        below = -1
        if is_layer(module):
            return below
        for name, child in module.named_children():
            known = id(child) in self._places
            self._places.setdefault(id(child), (type(module), name))
            height = self._height(child, {} if known else levels)
            below = max(below, height)
        if type(module) in (nn.ModuleList, nn.ModuleDict):
            return below
        levels.setdefault(below + 1, []).append(module)
        return below + 1

    def _body(self, module: nn.Module) -> _Body:
        if is_layer(module):
            return _Body((), None)
        parts: list[tuple[str, Code]] = []
        first: dict[int, str] = {}
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            same = first.setdefault(id(parameter), name)
            parts.append((name, f"self.{same}" if same != name else _parameter(parameter)))
        kept = set(module.state_dict(keep_vars=True))
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            parts.append((name, _buffer(name, buffer, name in kept)))
        for name, child in _children(module):
            same = first.setdefault(id(child), name)
            shared = same != name and _attribute(same) and not _in_a_row(module)
            parts.append((name, f"self.{same}" if shared else self._construction(child)))
        return _Body(tuple(parts), None if _in_a_row(module) else forward_of(module))

    def _construction(self, module: nn.Module) -> Code:
        if type(module) in (nn.ParameterList, nn.ParameterDict):
            return _parameters_of(module)
        if is_layer(module):
            return construction(module)
        if type(module) is nn.ModuleList:
            items = tuple(("", self._construction(child)) for child in module)
            return Group("nn.ModuleList([", items, "])")
        if type(module) is nn.ModuleDict:
            named = tuple((f'"{name}": ', self._construction(child)) for name, child in module.items())
            return Group("nn.ModuleDict({", named, "})")
        return self._calls[id(module)]

    def _write_function(self, name: str, body: _Body, parameters: _Parameters) -> None:
        code = printed(_sequential(body.parts), iter(parameters.printed), 4, len("return "))
        head = _signature(f"def {name}(", parameters, ") -> nn.Sequential:")
        self._written.append(f"{head}\n    return {code}\n")

    def _write_class(
        self, module: nn.Module, name: str, bodies: Sequence[_Body], parameters: _Parameters, summary: str = ""
    ) -> None:
        body = bodies[0]
        names = iter(parameters.printed)
        base, lines = "nn.Module", ["super().__init__()"]
        if is_layer(module):
            call = construction(module)
            base, lines = call.opening.rstrip("("), [one_line(Group("super().__init__(", call.items))]
        elif body.forward is None:
            base = "nn.Sequential"
            items = tuple(("", code) for _, code in body.parts)
            lines = [printed(Group("super().__init__(", items), names, 8)]
        else:
            for part, code in body.parts:
                registered = isinstance(code, Group) and code.opening.startswith("self.")
                start = "" if registered else f"self.{part} = "
                if not registered and not _attribute(part):
                    code, start = Group("self.add_module(", (("", f'"{part}"'), ("", code))), ""
                lines.append(start + printed(code, names, 8, len(start)))
        statements: list[str] = []
        used: set[str] = set()
        for statement in body.forward.statements if body.forward else ():
            statements.append(one_line(statement, lambda slot: _of_self(slot, next(names), parameters.defaults, used)))
        lines[1:1] = [f"self.{each} = {each}" for each in parameters.defaults if each in used]
        text = [f"class {name}({base}):"]
        text += [f'    """{summary}"""', ""] if (summary := summary or _summary(module)) else []
        text += [_signature("    def __init__(", parameters, ") -> None:", "self")]
        text += [f"        {line}" for line in lines]
        if body.forward is not None:
            inputs = "".join(f", {each}: Tensor" for each in body.forward.arguments)
            text += ["", f"    def forward(self{inputs}) -> Tensor:", *(f"        {line}" for line in statements)]
        self._written.append("\n".join(text) + "\n")

    def _fresh(self, base: str) -> str:
        for number in itertools.count(1):
            name = base if number == 1 else f"{base}{number}" if base[0].isupper() else f"{base}_{number}"
            if name not in self._names:
                self._names.add(name)
                return name
        raise AssertionError


class _Parameters:
    """The arguments that make one piece of code out of several that differ in integers.

    Attributes:
        defaults: the arguments by name, with the default of those that have one; these come last.
        values: theirs, for each piece.
        printed: what stands in place of each slot: an integer, an argument, or an expression of one.
    """

    def __init__(self, pieces: Sequence[Sequence[Slot]]) -> None:
        columns = list(zip(*([slot.value for slot in piece] for piece in pieces), strict=True))
        merged: dict[tuple[int, ...], list[Slot]] = {}
        for column, slot in zip(columns, pieces[0], strict=True):
            if len(set(column)) > 1:
                merged.setdefault(column, []).append(slot)
        expressions: dict[tuple[int, ...], str] = {}
        found: list[tuple[str, int | None, tuple[int, ...]]] = []
        for column, same in merged.items():
            derived = _derived(column, expressions)
            if derived is None:
                derived = _parameter_name([slot.hint for slot in same], [name for name, _, _ in found])
                defaults = {slot.default for slot in same}
                found.append((derived, defaults.pop() if len(defaults) == 1 else None, column))
            expressions[column] = derived
        found.sort(key=lambda each: each[1] is not None)
        self.defaults = {name: default for name, default, _ in found}
        self.values = [[column[i] for _, _, column in found] for i in range(len(pieces))]
        self.printed = [expressions.get(column, str(column[0])) for column in columns]


def _derived(column: tuple[int, ...], known: dict[tuple[int, ...], str]) -> str | None:
    """The column as an expression of a known one: a small multiple of it, or half of it rounded down."""
    for other, name in known.items():
        if not name.isidentifier():
            continue
        for factor in (2, 3, 4, 6):
            if all(value == factor * base for value, base in zip(column, other, strict=True)):
                return f"{factor} * {name}"
        if name.startswith("kernel_size") and all(v == base // 2 for v, base in zip(column, other, strict=True)):
            return f"{name} // 2"
    return None


def _parameter_name(hints: Sequence[str], taken: Sequence[str]) -> str:
    hints = [re.sub(r"_\d+$", "", hint) for hint in hints]
    found = set(hints)
    base = hints[0]
    if found & _CHANNELS:
        sides = found & {"in_channels", "out_channels"}
        one_sided = len(sides) == 1 and not found & {"channels", "hidden_channels"}
        base = sides.pop() if one_sided else "channels"
        if base == "channels" and "hidden_channels" not in taken and {"in_channels", "channels"} & set(taken):
            base = "hidden_channels"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def _in_a_row(module: nn.Module) -> bool:
    """Whether the module applies its children one by one and they have numbers for names."""
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        return False
    names = [name for name, _ in _children(module)]
    return names == [str(i) for i in range(len(names))]


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Children by name; one that has two names comes twice, other than in ``named_children``."""
    return [(name, child) for name, child in module._modules.items() if child is not None]


def _sequential(parts: Sequence[tuple[str, Code]]) -> Group:
    if [name for name, _ in parts] != [str(i) for i in range(len(parts))]:
        named = Group("OrderedDict(", tuple((f"{name}=", code) for name, code in parts))
        return Group("nn.Sequential(", (("", named),))
    return Group("nn.Sequential(", tuple(("", code) for _, code in parts))


def _parameter(parameter: Any) -> Code:
    if not isinstance(parameter, Tensor):  # such lists may hold what is none
        return literal(parameter, "size")
    fixed: tuple[tuple[str, Code], ...] = () if parameter.requires_grad else (("requires_grad=", "False"),)
    return Group("nn.Parameter(", (("", empty(parameter)), *fixed))


def _parameters_of(module: nn.Module) -> Group:
    if isinstance(module, nn.ParameterList):
        return Group("nn.ParameterList([", tuple(("", _parameter(each)) for each in module), "])")
    assert isinstance(module, nn.ParameterDict)
    named = tuple((f"{json.dumps(name)}: ", _parameter(each)) for name, each in module.items())
    return Group("nn.ParameterDict({", named, "})")


def _buffer(name: str, buffer: Tensor, kept: bool) -> Group:
    if kept:
        return Group("self.register_buffer(", (("", f'"{name}"'), ("", empty(buffer))))
    values = tensor_literal(buffer)
    return Group("self.register_buffer(", (("", f'"{name}"'), ("", values), ("persistent=", "False")))


def _function_name(sequential: nn.Module) -> str:
    """``conv_bn_relu`` for these layers in a row."""
    children = [child for _, child in _children(sequential)]
    kinds = [type(child).__name__ for child in children if type(child) is not nn.Sequential]
    words = [_SHORT.get(kind, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()) for kind in kinds]
    name = "_".join(words)
    return name if words and len(name) <= _LONGEST_NAME and len(kinds) == len(children) else "layers"


def _attribute(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _signature(start: str, parameters: _Parameters, end: str, *first: str) -> str:
    """The head of a function whose arguments are integers, an argument a line where it is long."""
    known = parameters.defaults.items()
    arguments = [
        *first,
        *(f"{name}: int" if default is None else f"{name}: int = {default}" for name, default in known),
    ]
    line = start + ", ".join(arguments) + end
    if len(line) <= LINE:
        return line
    indent = " " * (len(start) - len(start.lstrip()))
    return "\n".join([start, *(f"{indent}    {each}," for each in arguments), indent + end])


def _of_self(slot: Slot, text: str, parameters: Iterable[str], used: set[str]) -> str:
    """What stands for a slot, with an argument of the class as ``forward`` sees it."""
    for each in parameters:
        if re.search(rf"\b{each}\b", text):
            used.add(each)
            seen = re.sub(rf"\b{each}\b", f"self.{each}", text)
            return f"({seen})" if slot.operand and text != each else seen
    return text


def _summary(module: nn.Module) -> str:
    """First line of the docstring of the module's class, if it has one of its own."""
    if type(module).__module__.startswith("torch.") or not type(module).__doc__:
        return ""
    first = (inspect.getdoc(type(module)) or "").partition("\n")[0].strip()
    return first.replace("\\", "\\\\").replace('"""', "'''")
