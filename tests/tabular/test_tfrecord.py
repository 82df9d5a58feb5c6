"""TFRecord files: framing and both checksums."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tfrecords import framed, write_records

from greennas.errors import DataError
from greennas.tabular import tfrecord
from greennas.tabular.tfrecord import crc32c, read_records


@pytest.mark.parametrize(
    ("message", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and the next ones: RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksums_are_the_published_ones_alone_and_beside_others(message: bytes, checksum: int) -> None:
    assert crc32c([message]).tolist() == [checksum]
    assert crc32c([b"a", message, bytes(51)])[1] == checksum


def test_records_of_all_lengths_come_back_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "_BATCH_BYTES", 300)  # several batches, and records longer than one
    source = random.Random(0)
    records = [source.randbytes(length) for length in [*range(40), 500, 3, 0, 0]]
    assert list(read_records(write_records(tmp_path / "t.tfrecord", records))) == records


def test_faults_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "t.tfrecord"
    good = framed(b"first") + framed(b"second")

    def fault(data: bytes) -> str:
        path.write_bytes(data)
        with pytest.raises(DataError) as caught:
            list(read_records(path))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    for end in (3, 14, 20, len(good) - 1):
        assert "truncated" in fault(good[:end])
    for place, wrong in ((0, "length is wrong"), (9, "length is wrong"), (13, "data is wrong"), (18, "data is wrong")):
        assert wrong in fault(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
    assert "21 bytes into it" in fault(good[:23] + b"\xff" + good[24:])
    assert "git lfs pull" in fault(b"version https://git-lfs.github.com/spec/v1\noid sha256:93e4\nsize 6139\n")
    with pytest.raises(DataError, match="No such file"):
        list(read_records(tmp_path / "none.tfrecord"))
