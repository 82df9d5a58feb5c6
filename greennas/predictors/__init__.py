"""Predictors of energy and accuracy that learn online from few measurements."""

from greennas.predictors.accuracy import AccuracyPredictor
from greennas.predictors.energy import EnergyPredictor
from greennas.predictors.inputs import PredictorError
from greennas.predictors.prediction import Prediction

__all__ = ["AccuracyPredictor", "EnergyPredictor", "Prediction", "PredictorError"]
