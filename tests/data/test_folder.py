from __future__ import annotations

import sys
from pathlib import Path

import pytest
from data_files import write_pictures

from greennas.data import load_data
from greennas.errors import DataError


def test_folder_of_images(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"red": 20, "blue": 20})
    (tmp_path / "red" / "notes.txt").write_text("no image")
    dataset = load_data(f"folder:{tmp_path}")
    assert dataset.test is not None
    assert dataset.class_names == ("blue", "red")
    assert dataset.input_shape == (3, 32, 32)
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [24, 8, 8]
    reds = dataset.train.images[dataset.train.labels == 1]
    assert (reds[:, 0] == 255).all()
    assert (reds[:, 2] == 0).all()
    assert load_data(f"folder:{tmp_path}", resolution=16).input_shape == (3, 16, 16)


def test_every_suffix_of_pnm_is_read(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"red": 20, "blue": 20})
    for i, suffix in enumerate((".pbm", ".pgm", ".ppm", ".pnm")):
        (tmp_path / "red" / f"more{suffix}").write_bytes(b"P5 1 1 255\n" + bytes([i]))
    data = load_data(f"folder:{tmp_path}")
    assert data.test is not None
    assert len(data.train) + len(data.validation) + len(data.test) == 44


def test_folder_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no folder"):
        load_data(f"folder:{tmp_path / 'none'}")
    with pytest.raises(DataError, match="no subfolders with images"):
        load_data(f"folder:{tmp_path}")
    write_pictures(tmp_path, {"red": 20})
    with pytest.raises(DataError, match="one class only"):
        load_data(f"folder:{tmp_path}")
    write_pictures(tmp_path, {"blue": 9})
    with pytest.raises(DataError, match="9 train images of class 'blue'"):
        load_data(f"folder:{tmp_path}")
    (tmp_path / "blue" / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match=r"broken\.png is not an image"):
        load_data(f"folder:{tmp_path}")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"greennas\[images\]"):
        load_data(f"folder:{tmp_path}")
