"""Data sets with one fixed split into train, validation and test."""

from __future__ import annotations

from greennas.data.dataset import AnySplit, Dataset
from greennas.data.load import NAMES, load_data
from greennas.data.split import Split
from greennas.data.streamed import StreamedSplit

__all__ = ["NAMES", "AnySplit", "Dataset", "Split", "StreamedSplit", "load_data"]
