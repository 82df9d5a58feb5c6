"""Predictors of energy and accuracy that learn online from few measurements."""

from greennas.predictors.accuracy import AccuracyPrediction, AccuracyPredictor
from greennas.predictors.energy import EnergyPredictor
from greennas.predictors.inputs import PredictorError
from greennas.predictors.prediction import Prediction
from greennas.predictors.proxies import zero_cost_proxies

__all__ = [
    "AccuracyPrediction",
    "AccuracyPredictor",
    "EnergyPredictor",
    "Prediction",
    "PredictorError",
    "zero_cost_proxies",
]
