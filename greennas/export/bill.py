"""What a training to the end took, kept beside the trained network together with the search's bill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from greennas.carbon import SearchCost
from greennas.errors import DataError, GreenNASError
from greennas.files import write_text

BILL = "training.json"


def write_bill(folder: Path, training: SearchCost, search: SearchCost, hardware: str, facts: Mapping[str, Any]) -> None:
    """Write both bills.

    Args:
        folder: of the trained network.
        training: what its training took, with that of a teacher.
        search: what the search took that it was found in.
        hardware: what the training ran on, in words.
        facts: whatever else is known of the training, JSON-ready.
    """
    bills = {"hardware": hardware, "cost": training.to_json(), "search_cost": search.to_json()}
    write_text(folder / BILL, json.dumps({**facts, **bills}, indent=2))


def read_training_bill(folder: Path) -> SearchCost | None:
    """What the training alone took; None where nothing is known of it.

    Raises:
        DataError: the file is damaged.
    """
    found = _read(folder)
    return None if found is None else found[0]


def read_bill(folder: Path) -> tuple[SearchCost, str] | None:
    """What search and training took together, and on what; None where nothing is known of them.

    Raises:
        DataError: the file is damaged.
    """
    found = _read(folder)
    if found is None:
        return None
    training, search, hardware = found
    together = replace(
        search,
        entries=[*search.entries, *training.entries],
        trials=search.trials + training.trials,
        examples_seen=search.examples_seen + training.examples_seen,
        flops_per_example=None,  # of trainings of several lengths a mean over networks says little
        metered=(),
    )
    return together, hardware


def _read(folder: Path) -> tuple[SearchCost, SearchCost, str] | None:
    file = folder / BILL
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return SearchCost.from_json(found["cost"]), SearchCost.from_json(found["search_cost"]), str(found["hardware"])
    except (OSError, ValueError, KeyError, TypeError, GreenNASError) as error:
        raise DataError(
            f"The bill {file} cannot be read ({error!r}); remove it, or train the network again."
        ) from error
