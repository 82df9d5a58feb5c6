"""Chosen networks trained to the end: forecast, training with resume, distillation, the bill."""

from greennas.full.job import Job, prepare_training
from greennas.full.train import Trained, train_to_the_end

__all__ = ["Job", "Trained", "prepare_training", "train_to_the_end"]
