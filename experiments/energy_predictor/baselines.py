"""What the energy predictor is compared with: the published surrogate, and boosted trees."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from data import Table
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from torch import nn

from greennas.predictors import Prediction
from greennas.predictors.physics import cost_features

Indices = NDArray[np.int64]
Method = Callable[[Table, Indices, Indices, int], Prediction]

JOULES_PER_WH = 3600.0
_LEAST_STEPS = 2000


def as_published(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """The published surrogate, trained for 5 epochs at a constant rate as its authors' code does.

    https://github.com/raghavian/surrogate-ec-nasbench: layers of 128, 64, 32 and 32 GELUs on the table's encoding, mean
    absolute error in Wh, Adam with rate 0.005, batches of 32.
    """
    return _perceptron(table, train, test, seed, epochs=5, annealed=False)


def trained_longer(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """The same network for 200 epochs, and 2,000 steps at least, the rate annealed by half a cosine."""
    epochs = max(200, _LEAST_STEPS // -(-len(train) // 32))
    return _perceptron(table, train, test, seed, epochs, annealed=True)


def _perceptron(table: Table, train: Indices, test: Indices, seed: int, epochs: int, annealed: bool) -> Prediction:
    torch.manual_seed(seed)
    inputs = torch.tensor(table.encoding, dtype=torch.float32)
    targets = torch.tensor(table.energy_j[train] / JOULES_PER_WH, dtype=torch.float32)
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise((inputs.shape[1], 128, 64, 32, 32)):
        layers += [nn.Linear(width, following), nn.GELU()]
    model = nn.Sequential(*layers, nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(32):
            optimizer.zero_grad()
            nn.functional.l1_loss(model(inputs[train[batch]]).squeeze(1), targets[batch]).backward()
            optimizer.step()
        if annealed:
            schedule.step()
    with torch.no_grad():
        return _without_intervals(JOULES_PER_WH * model(inputs[test]).squeeze(1).double().numpy())


def boosted(table: Table, train: Indices, test: Indices, seed: int) -> Prediction:
    """Gradient-boosted trees on the logarithms of the cost features, for log energy."""
    x = np.log1p(cost_features(table.profiles))
    trees = GradientBoostingRegressor(
        n_estimators=300, max_depth=3, learning_rate=0.05, subsample=0.7, random_state=seed
    )
    return _without_intervals(np.exp(trees.fit(x[train], np.log(table.energy_j[train])).predict(x[test])))


def _without_intervals(mean_j: NDArray[np.float64]) -> Prediction:
    nothing = np.full(len(mean_j), np.nan)
    return Prediction(mean_j, nothing, nothing, np.zeros(len(mean_j), dtype=bool))
