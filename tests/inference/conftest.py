from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from optuna.trial import FixedTrial

from greennas.data import load_data
from greennas.export import ModelDescription, save_pretrained
from greennas.space import load_space
from greennas.trainer import TrainingPlan, train


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a language model of 2 layers, 64 wide."""
    file = tmp_path_factory.mktemp("llm") / "tiny.json"
    settings = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 256,
        "max_position_embeddings": 256,
    }
    file.write_text(json.dumps(settings))
    return file


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a small residual network, trained on digits."""
    dataset = load_data("digits")
    space = load_space("resnet", width=8, depth=1)
    choices = {"blocks": 1, "block": "basic", "multiplier": 1.0, "groups": 1}
    names = {f"stage {stage} {name}": value for stage in range(1, 5) for name, value in choices.items()}
    params = space.sample(FixedTrial(names))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = space.build(params, dataset.input_shape, dataset.num_classes)
    train(network, dataset, TrainingPlan(epochs=6, precision="float32"))
    description = ModelDescription(
        space.architecture(params), dataset.input_shape, dataset.class_names, dataset.mean, dataset.std, "digits"
    )
    folder = tmp_path_factory.mktemp("models") / "digits-net"
    save_pretrained(network, folder, description)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """CPU time of several threads depends on what else runs here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
