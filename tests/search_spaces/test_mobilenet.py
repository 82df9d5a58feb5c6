"""The MobileNet space: only blocks that exist are asked about, rounding does not split one network in two."""

from __future__ import annotations

import pytest
from space_samples import samples
from torch import nn

from greennas.space import load_space
from search_spaces.mobilenet import InvertedResidual


def test_only_blocks_that_exist_are_suggested() -> None:
    space = load_space("mobilenet")
    for params in samples(space, 50):
        blocks = [params[f"stage {stage} blocks"] for stage in range(1, 6)]
        network = space.build(params, (3, 64, 64), 10)
        assert sum(isinstance(layer, InvertedResidual) for layer in network.modules()) == 1 + sum(blocks)
        assert len(params) == 1 + sum(2 + 2 * count for count in blocks)


@pytest.mark.parametrize("depth", [1, 3])
def test_size_counts_the_parameter_sets(depth: int) -> None:
    stage = 2 * sum((2 * 3) ** blocks for blocks in range(1, depth + 1))
    assert load_space("mobilenet", depth=depth).size == 4 * stage**5


def test_width_multipliers_that_round_to_one_network_have_one_id() -> None:
    params = {**next(samples(load_space("mobilenet", depth=1), 1)), "multiplier": 0.5}
    narrow, published = load_space("mobilenet", width=1), load_space("mobilenet")
    assert narrow.canonical(params) == narrow.canonical({**params, "multiplier": 0.75})
    assert published.canonical(params) != published.canonical({**params, "multiplier": 0.75})


def test_squeeze_excite_is_in_its_stage_alone() -> None:
    space = load_space("mobilenet")
    params = {
        key: False if "squeeze" in key else value for key, value in next(samples(space, 1)).items()
    }  # no stage has it
    without = space.build(params, (3, 32, 32), 10)
    gated = space.build({**params, "stage 2 squeeze-excite": True}, (3, 32, 32), 10)

    def gates(network: nn.Module) -> int:
        return sum(isinstance(layer, nn.Hardsigmoid) for layer in network.modules())

    assert gates(without) == 0
    assert gates(gated) == params["stage 2 blocks"]
