"""Words that the shell completes as values of options; where none fits, it completes names of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args


def spaces(incomplete: str) -> list[str]:
    """Names of the installed search spaces."""
    from greennas.space import available_spaces

    return _beginning(incomplete, [point.name for point in available_spaces()])


def data(incomplete: str) -> list[str]:
    """Names of data sets."""
    from greennas.data.load import NAMES

    return _beginning(incomplete, [name for name in NAMES if ":" not in name])


def samplers(incomplete: str) -> list[str]:
    """Names of search strategies."""
    from greennas.config import SearchConfig

    return _beginning(incomplete, get_args(SearchConfig.model_fields["sampler"].annotation))


def _beginning(incomplete: str, words: Sequence[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
