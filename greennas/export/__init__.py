"""Chosen networks as files that others can use."""

from greennas.export.description import EnergyFigure, ModelDescription
from greennas.export.pretrained import from_pretrained, load_model, read_description, save_pretrained

__all__ = [
    "EnergyFigure",
    "ModelDescription",
    "from_pretrained",
    "load_model",
    "read_description",
    "save_pretrained",
]
