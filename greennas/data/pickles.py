"""Published pickles, such as CIFAR's, read without executing them.

A pickle is a program for a small stack machine; ``pickle.load`` runs it and may call anything. Here the opcodes are
only decoded (``pickletools.genops``) and those few that build bytes, strings, numbers, lists, tuples, dictionaries and
NumPy arrays are interpreted by hand. Nothing that a pickle names is ever imported or called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greennas.errors import DataError

_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_ENCODE = "_codecs encode"  # how Python 3 writes bytes at protocol 2
_NDARRAY, _DTYPE = "numpy ndarray", "numpy dtype"
_INTEGERS = {f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)}
_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # Python 2's str, which is bytes
_VALUES = {
    "BININT",
    "BININT1",
    "BININT2",
    "INT",
    "LONG",
    "LONG1",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINFLOAT",
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Name:
    """A global that the pickle mentions: its module and name with a space between; a word, never the thing itself."""

    path: str


@dataclass
class Call:
    """A call that the pickle asks for and nobody makes.

    Attributes:
        path: as in ``Name``.
        arguments: of the call, decoded.
        state: what the pickle would have set on the result; None where nothing.
    """

    path: str
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass
class _DType:
    code: str
    order: str = "|"


@dataclass
class Array:
    """A NumPy array; without ``values`` until the pickle says them."""

    values: NDArray[Any] | None = None


class _RefusedError(Exception):
    pass


_MARK = object()


def read_pickled_dict(data: bytes, source: str) -> dict[str, Any]:
    """The dictionary in a pickle of CIFAR, with text keys; values are plain objects or integer arrays.

    Raises:
        DataError: as ``decode``, or no dictionary.
    """
    found = decode(data, source, "a published CIFAR file")
    if not isinstance(found, dict):
        raise DataError(f"{source} holds a {type(found).__name__}, not a dictionary; check that it is a CIFAR file.")
    text = {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}
    return {key: value.values if isinstance(value, Array) else value for key, value in text.items()}


def decode(data: bytes, source: str, form: str, names: Collection[str] = (), dtypes: Collection[str] = ()) -> Any:
    """What a pickle holds: plain objects, ``Array``, and for the names that a form has besides, ``Name`` and ``Call``.

    Args:
        data: the pickle.
        source: of the pickle, for messages.
        form: what the pickle should be, for messages.
        names: globals that the form has besides NumPy's arrays, as in ``Name``.
        dtypes: of arrays besides integers, such as ``f8``, or ``O8`` for any of these objects.

    Raises:
        DataError: the pickle is damaged, or holds anything else (it is not executed).
    """
    try:
        return _interpret(data, names, {*_INTEGERS, *dtypes})
    except _RefusedError as error:
        raise DataError(
            f"{source} is refused: it is a pickle with {error}, which {form} never has "
            "and which could run code; get the file from its publisher."
        ) from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{source} is not a whole pickle ({error!r}); get the file again.") from error


def _interpret(data: bytes, names: Collection[str], dtypes: Collection[str]) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _STRINGS:
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(_to_mark(stack)))
        elif name in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else _to_mark(stack)
            _typed(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = list(reversed([stack.pop(), stack.pop()])) if name == "SETITEM" else _to_mark(stack)
            _typed(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":
                argument = " ".join(reversed([_typed(stack.pop(), str), _typed(stack.pop(), str)]))
            if argument not in (*_RECONSTRUCT, _ENCODE, _NDARRAY, _DTYPE, *names):
                raise _RefusedError(f"the global {argument.replace(' ', '.')!r}")
            stack.append(Name(argument))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = _typed(stack.pop(), tuple)
            called = _typed(stack.pop(), Name).path
            stack.append(Call(called, arguments) if called in names else _call(called, arguments, dtypes))
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Call):
                stack[-1].state = state
            else:
                _set_state(stack[-1], _typed(state, tuple))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise _RefusedError(f"the operation {name}")
    raise ValueError("it ends early")


def _to_mark(stack: list[Any]) -> list[Any]:
    start = len(stack) - 1 - stack[::-1].index(_MARK)
    items = stack[start + 1 :]
    del stack[start:]
    return items


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise _RefusedError(f"a {type(value).__name__} in the place of a {kind.__name__.strip('_')}")
    return value


def _call(path: str, arguments: tuple[Any, ...], dtypes: Collection[str]) -> Any:
    """What the three known calls would return."""
    if path in _RECONSTRUCT and arguments and arguments[0] == Name(_NDARRAY):
        return Array()
    if path == _DTYPE and arguments:
        code = arguments[0].decode("latin-1") if isinstance(arguments[0], bytes) else arguments[0]
        if code in dtypes:
            return _DType(code)
    if path == _ENCODE and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
        return _typed(arguments[0], str).encode("latin-1")
    raise _RefusedError(f"a call of {path.replace(' ', '.')!r} with unusual arguments")


def _set_state(target: Any, state: tuple[Any, ...]) -> None:
    """The states of NumPy's dtype (version, byte order, ...) and ndarray (version, shape, dtype, fortran, bytes)."""
    if isinstance(target, _DType):
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise _RefusedError(f"the byte order {order!r}")
        target.order = order
    elif isinstance(target, Array):
        _, shape, dtype, fortran, values = state
        kind = np.dtype(_typed(dtype, _DType).order + dtype.code)
        if kind.hasobject:
            array = np.empty(len(_typed(values, list)), object)
            array[:] = values
        else:
            array = np.frombuffer(_typed(values, bytes), kind)
        target.values = array.reshape(_typed(shape, tuple), order="F" if fortran else "C")
    else:
        raise _RefusedError(f"a state for a {type(target).__name__}")
