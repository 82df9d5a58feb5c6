"""What every built-in space keeps: valid samples, stable ids, any image size, a closed form that equals the walk."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from conftest import samples
from torch import nn

from greennas.architecture import Architecture
from greennas.errors import InvalidArchitectureError
from greennas.profile import profile
from greennas.space import SearchSpace, load_space

SMALL: dict[str, dict[str, Any]] = {
    "nasbench101": {"width": 8, "depth": 1, "resolution": 16},
    "nasbench201": {"width": 4, "depth": 1, "resolution": 16},
    "mobilenet": {"width": 8, "depth": 2, "resolution": 16},
    "resnet": {"width": 8, "depth": 2, "resolution": 16},
}
SHAPES = ((1, 8, 8), (3, 32, 32), (3, 224, 224))


@pytest.fixture(params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def small(name: str) -> SearchSpace:
    return load_space(name, **SMALL[name])


@pytest.mark.parametrize("published", [True, False])
def test_samples_are_valid_json_and_have_a_stable_id(name: str, published: bool) -> None:
    space = load_space(name) if published else load_space(name, **SMALL[name])
    ids = set()
    for index, params in enumerate(samples(space, 200)):
        architecture = space.architecture(params)
        again = json.loads(json.dumps(params))
        assert again == params
        assert space.architecture(again) == architecture
        assert Architecture.from_json(json.loads(json.dumps(architecture.to_json()))) == architecture
        if index % 10 == 0:
            with torch.device("meta"):
                assert isinstance(space.build(params, (3, 32, 32), 10), nn.Module)
        ids.add(architecture.id)
    assert len(ids) > 150


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_networks_train_on_any_image_size(small: SearchSpace, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    for params in samples(small, 5):
        network = small.build(params, shape, 7)
        logits = network(torch.rand(3, *shape))
        assert logits.shape == (3, 7)
        logits.logsumexp(1).sum().backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        # What sample suggests has no dead operation: every weight learns.
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("shape", "classes", "batch"),
    [((1, 8, 8), 10, 1), ((3, 32, 32), 100, 7), ((3, 224, 224), 2, 32), ((2, 5, 9), 3, 3)],
)
def test_closed_form_equals_the_walk(small: SearchSpace, shape: tuple[int, int, int], classes: int, batch: int) -> None:
    for params in samples(small, 6):
        assert small.profile(params, shape, classes, batch) == profile(
            small.build(params, shape, classes), shape, batch
        )


def test_closed_form_equals_the_walk_on_the_published_skeleton(name: str) -> None:
    space = load_space(name)
    for params in samples(space, 2):
        assert space.profile(params, (3, 32, 32), 10, 128) == profile(
            space.build(params, (3, 32, 32), 10), (3, 32, 32), 128
        )


def test_resolution_bounds_the_first_stage(name: str) -> None:
    params = next(samples(load_space(name), 1))
    flops = [
        load_space(name, resolution=resolution).profile(params, (3, 64, 64)).total_flops
        for resolution in (8, 16, 32, 64)
    ]
    assert all(1.5 < larger / smaller < 5 for smaller, larger in itertools.pairwise(flops))


def test_width_and_depth_scale_the_skeleton(name: str) -> None:
    params = next(samples(load_space(name), 1))
    width = load_space(name).default_options["width"]
    narrow, wide = (load_space(name, width=factor * width).profile(params) for factor in (1, 2))
    assert 3 < wide.parameters / narrow.parameters < 4.5
    assert narrow.depth == wide.depth
    if "nasbench" in name:
        assert load_space(name, depth=6).profile(params).depth > narrow.depth


def test_wrong_parameters_are_an_error_with_a_sentence(name: str) -> None:
    space = load_space(name)
    good = next(samples(space, 1))
    for wrong in ({}, {**good, "speed": 1}, dict.fromkeys(good, "conv11"), dict.fromkeys(good)):
        for use in (space.canonical, lambda params: space.build(params, (3, 32, 32), 10), space.profile):
            with pytest.raises(InvalidArchitectureError, match="; "):
                use(wrong)


def test_size_is_known_and_options_are_those_of_the_skeleton(name: str) -> None:
    space = load_space(name)
    assert space.size is not None
    assert space.size > 1000
    assert {"width", "depth", "resolution"} <= set(space.default_options)
    assert space.summary.endswith(".")
