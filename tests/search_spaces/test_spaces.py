"""What every built-in space keeps: the conformance suite on small skeletons, and more on the published ones."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from space_samples import samples
from torch import nn

from greennas.errors import InvalidArchitectureError
from greennas.profile import profile
from greennas.space import SearchSpace, load_space
from greennas.testing import check_space

SMALL: dict[str, dict[str, Any]] = {
    "nasbench101": {"width": 8, "depth": 1, "resolution": 16},
    "nasbench201": {"width": 4, "depth": 1, "resolution": 16},
    "mobilenet": {"width": 8, "depth": 2, "resolution": 16},
    "resnet": {"width": 8, "depth": 2, "resolution": 16},
}


@pytest.fixture(params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def small(name: str) -> SearchSpace:
    return load_space(name, **SMALL[name])


def test_the_space_conforms(small: SearchSpace) -> None:
    shapes = ((1, 8, 8), (3, 32, 32), (2, 5, 9), (3, 224, 224))
    check_space(small, samples=60, networks=2, shapes=shapes, num_classes=7, fresh_process=False, strict=True)


def test_the_published_skeleton_has_many_networks_that_can_be_built(name: str) -> None:
    space = load_space(name)
    drawn = list(samples(space, 200))
    assert len({space.architecture(params).id for params in drawn}) > 150
    for params in drawn[::10]:
        with torch.device("meta"):
            assert isinstance(space.build(params, (3, 32, 32), 10), nn.Module)


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
