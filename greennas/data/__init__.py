"""Data sets with one fixed split into train, validation and test."""

from __future__ import annotations

from greennas.data.dataset import Dataset, Split
from greennas.data.load import NAMES, load_data

__all__ = ["NAMES", "Dataset", "Split", "load_data"]
