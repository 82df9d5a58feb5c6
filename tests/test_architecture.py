"""Architectures: one id a network, and JSON that cannot be edited unnoticed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennas.architecture import Architecture
from greennas.errors import InvalidArchitectureError

VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PARAMS = st.dictionaries(st.text(), VALUES | st.lists(VALUES, max_size=3), max_size=5)
ONE = Architecture("resnet", {"depth": 2, "block": "basic"}, "basic*2", {"width": 16})


@given(st.text(), PARAMS, st.text(), PARAMS)
def test_json_round_trip(space: str, params: dict[str, object], canonical: str, options: dict[str, object]) -> None:
    architecture = Architecture(space, params, canonical, options)
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert again.id == architecture.id
    assert hash(again) == hash(architecture)


def test_the_id_is_of_space_options_and_canonical_form_alone() -> None:
    assert len(ONE.id) == 12
    assert set(ONE.id) <= set("0123456789abcdef")
    assert Architecture("resnet", {"depth": 2, "block": "other words"}, "basic*2", {"width": 16}).id == ONE.id
    others = [
        Architecture("mobilenet", ONE.params, ONE.canonical, ONE.options),
        Architecture("resnet", ONE.params, "basic*3", ONE.options),
        Architecture("resnet", ONE.params, ONE.canonical, {"width": 8}),
        Architecture("resnet", ONE.params, ONE.canonical),
    ]
    assert len({each.id for each in [ONE, *others]}) == 5


def test_the_order_of_options_does_not_matter() -> None:
    first = Architecture("resnet", {}, "c", {"width": 8, "depth": 2})
    assert first.id == Architecture("resnet", {}, "c", {"depth": 2, "width": 8}).id


def test_the_id_is_the_same_in_every_process_and_version() -> None:
    # Checkpoints are named by it, and studies refer to it: a change would orphan them.
    assert ONE.id == "cddbabd38c6f"


@pytest.mark.parametrize(
    ("field", "value"), [("id", "0" * 12), ("space", "other"), ("canonical", "basic*3"), ("options", {"width": 8})]
)
def test_an_edited_file_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidArchitectureError, match="does not belong to its parameters"):
        Architecture.from_json(ONE.to_json() | {field: value})


def test_json_without_an_id_is_fine() -> None:
    data = ONE.to_json()
    del data["id"]
    assert Architecture.from_json(data) == ONE


@pytest.mark.parametrize("field", ["space", "params", "canonical"])
def test_a_missing_field_is_named(field: str) -> None:
    data = ONE.to_json()
    del data[field]
    with pytest.raises(InvalidArchitectureError, match=f"KeyError.*{field}.*give JSON"):
        Architecture.from_json(data)


@pytest.mark.parametrize("params", [3, None, "ab"])
def test_parameters_of_another_type_are_refused(params: object) -> None:
    with pytest.raises(InvalidArchitectureError, match="Not an architecture"):
        Architecture.from_json(ONE.to_json() | {"params": params})
