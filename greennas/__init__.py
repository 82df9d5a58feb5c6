"""GreenNAS: energy-aware neural architecture search.

import greennas

result = greennas.search("nasbench201", "digits", trials=12)
for trial in result.front:
    print(trial.architecture_id, trial.metrics["accuracy"], trial.metrics["train_energy_j"])
"""

from greennas.architecture import Architecture
from greennas.data import Dataset, load_data
from greennas.energy import Kind, Reading, open_meter
from greennas.errors import GreenNASError
from greennas.export import from_pretrained, save_pretrained
from greennas.predictors import AccuracyPredictor, EnergyPredictor
from greennas.profile import CostProfile, profile, profile_stages
from greennas.recipes import RecipeBook
from greennas.results import SearchResult, TrialRecord
from greennas.sampler import GreenSampler
from greennas.search import continue_search, search
from greennas.space import SearchSpace, load_space

__version__ = "0.1.0"

__all__ = [
    "AccuracyPredictor",
    "Architecture",
    "CostProfile",
    "Dataset",
    "EnergyPredictor",
    "GreenNASError",
    "GreenSampler",
    "Kind",
    "Reading",
    "RecipeBook",
    "SearchResult",
    "SearchSpace",
    "TrialRecord",
    "continue_search",
    "from_pretrained",
    "load_data",
    "load_space",
    "open_meter",
    "profile",
    "profile_stages",
    "save_pretrained",
    "search",
]
