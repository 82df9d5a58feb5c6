"""The wire format of protocol buffers, as far as published benchmarks need it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_NUMBERS = {_DOUBLE: struct.Struct("<d"), _FLOAT: struct.Struct("<f")}


def fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Number and value of each field of a message, in the order of its bytes.

    Values are integers (varints, taken for unsigned), floats (whatever has 32 or 64 bits is taken for one), or bytes (a
    string or another message). Source: the encoding guide of Protocol Buffers.

    Raises:
        ValueError: not a whole message.
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        kind = tag & 7
        value: int | float | bytes
        if kind == _VARINT:
            value, position = _varint(message, position)
        elif kind == _BYTES:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        elif kind in _NUMBERS:
            number = _NUMBERS[kind]
            value = number.unpack(message[position : position + number.size].ljust(number.size, b"\0"))[0]
            position += number.size
        else:
            raise ValueError(f"protocol buffers have no wire type {kind}")
        if position > end:
            raise ValueError("the message ends within a field")
        yield tag >> 3, value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("the message ends within a number")
