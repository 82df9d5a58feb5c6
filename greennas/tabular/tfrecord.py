"""TFRecord files, read without TensorFlow, with both checksums of every record verified.

A record is its length as a little-endian uint64, the masked CRC-32C of these 8 bytes, the data, and the masked CRC-32C
of the data (TensorFlow's ``tensorflow/core/lib/io/record_writer.h``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from greennas.errors import DataError, bare_reason

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected (RFC 3720, B.4)
_START = bytes.fromhex("54641f64")  # takes the register from 0 to the CRC's initial value, all ones
_BATCH_BYTES = 1 << 23  # records that are verified together, each taken as long as the longest of them
_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")
_ONE, _HALF, _LOWER = np.uint32(1), np.uint32(16), np.uint32(0xFFFF)
_LFS_POINTER = b"version https://git-lfs"


def read_records(path: str | Path) -> Iterator[bytes]:
    """The data of each record, in order.

    Raises:
        DataError: a file that cannot be read, is truncated, or whose checksums are wrong.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise DataError(f"{path} is only Git LFS's pointer to the data; fetch them with: git lfs pull.")
            file.seek(0)
            left = path.stat().st_size
            batch: list[bytes] = []
            sums: list[int] = []
            widest = 0
            while header := file.read(_HEADER.size):
                if len(header) < _HEADER.size:
                    raise _truncated(path)
                length, length_sum = _HEADER.unpack(header)
                if _of_length(header[:8]) != length_sum:
                    raise DataError(
                        f"{path} is damaged, or is no TFRecord file: the checksum of a record's length is wrong, "
                        f"{path.stat().st_size - left:,} bytes into it; get the file again."
                    )
                left -= _HEADER.size + length + _FOOTER.size
                if left < 0:
                    raise _truncated(path)
                widest = max(widest, length)
                if widest * (len(batch) + 1) > _BATCH_BYTES:
                    yield from _verified(batch, sums, path)
                    batch, sums, widest = [], [], length
                batch.append(file.read(length))
                sums.append(_FOOTER.unpack(file.read(_FOOTER.size))[0])
            yield from _verified(batch, sums, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({bare_reason(error)}); check the path.") from error


def crc32c(messages: Sequence[bytes]) -> NDArray[np.uint32]:
    """CRC-32C of each message, shape ``(len(messages),)``.

    All messages advance side by side, two bytes a step, so it is quick for many of similar lengths. They stand
    right-aligned: zeros before a message do not change a register that is 0.
    """
    width = -(-max((len(message) for message in messages), default=0) // 2) * 2 + len(_START)
    rows = b"".join((_START + message).rjust(width, b"\0") for message in messages)
    columns = np.ascontiguousarray(np.frombuffer(rows, "<u2").reshape(len(messages), width // 2).T)
    table = _table()
    register = np.zeros(len(messages), np.uint32)
    for words in columns:
        register = table[(register & _LOWER) ^ words] ^ (register >> _HALF)
    return ~register


def masked(checksum: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A checksum as TFRecord stores it: rotated right by 15 bits, plus a constant, modulo 2**32."""
    return ((checksum >> np.uint32(15)) | (checksum << np.uint32(17))) + np.uint32(0xA282EAD8)


@cache
def _table() -> NDArray[np.uint32]:
    """The register after 16 more bits, by its lower half; shape ``(65536,)``."""
    value = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(16):
        value = (value >> _ONE) ^ (value & _ONE) * np.uint32(_POLYNOMIAL)
    return value


@lru_cache(maxsize=1 << 16)  # records have few different lengths
def _of_length(encoded: bytes) -> int:
    return int(masked(crc32c([encoded]))[0])


def _verified(batch: list[bytes], sums: list[int], path: Path) -> Iterator[bytes]:
    if batch and not np.array_equal(masked(crc32c(batch)), np.array(sums, np.uint32)):
        raise DataError(f"{path} is damaged: the checksum of a record's data is wrong; get the file again.")
    yield from batch


def _truncated(path: Path) -> DataError:
    return DataError(f"{path} is truncated: it ends within a record; get the file again.")
