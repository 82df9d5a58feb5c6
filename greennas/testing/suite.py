"""The conformance suite of search spaces: all checks; what is found first is what to mend first."""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from greennas.space import InputShape, SearchSpace, load_space
from greennas.testing.finding import Finding, Level
from greennas.testing.networks import check_builds, check_duplicates, check_profiles
from greennas.testing.sampling import Sample, check_ids, check_samples
from greennas.testing.searching import check_fresh_process, check_search, check_suggestions

SHAPES: tuple[InputShape, ...] = ((1, 8, 8), (3, 32, 32))


def examine_space(
    space: SearchSpace | str,
    *,
    samples: int = 200,
    networks: int = 6,
    shapes: Sequence[InputShape] = SHAPES,
    num_classes: int = 10,
    seed: int = 0,
    fresh_process: bool = True,
) -> list[Finding]:
    """Everything that a search expects of a space, checked.

    Args:
        space: the space, or what ``load_space`` takes.
        samples: architectures that are sampled.
        networks: how many of them are trained for a step and walked.
        shapes: of the images that they are built for: channels, height, width.
        num_classes: classes that they tell apart.
        seed: of the sampling.
        fresh_process: also load the space in a process of its own, which takes some seconds.

    Returns:
        Findings, at least one a check. After errors in sampling or building, checks that need it are left out.

    Raises:
        SpaceError: the space cannot be loaded.
    """
    space = load_space(space) if isinstance(space, str) else space
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        drawn, found = check_samples(space, samples, seed)
        if not drawn or any(finding.level is Level.ERROR for finding in found):
            return found
        found += check_ids(space, drawn)
        if any(finding.level is Level.ERROR for finding in found):
            return found
        chosen = _distinct(space, drawn, networks)
        built = check_builds(space, drawn, chosen, shapes, num_classes)
        found += built
        found += check_suggestions(space, drawn)
        if any(finding.level is Level.ERROR for finding in built):
            return found
        found += check_profiles(space, chosen, shapes, num_classes)
        found += check_duplicates(space, drawn, shapes[0], num_classes)
        found += check_search(space, shapes[0], num_classes, seed)
        if fresh_process:
            found += check_fresh_process(space, chosen)
        return found
    finally:
        optuna.logging.set_verbosity(before)


def check_space(
    space: SearchSpace | str,
    *,
    samples: int = 200,
    networks: int = 6,
    shapes: Sequence[InputShape] = SHAPES,
    num_classes: int = 10,
    seed: int = 0,
    fresh_process: bool = True,
    strict: bool = False,
) -> None:
    """Assert in a test that a space is what a search expects; see ``examine_space``.

    Args:
        strict: advice fails, too.

    Raises:
        AssertionError: something has to be mended; the message says what.
        SpaceError: the space cannot be loaded.
    """
    found = examine_space(
        space,
        samples=samples,
        networks=networks,
        shapes=shapes,
        num_classes=num_classes,
        seed=seed,
        fresh_process=fresh_process,
    )
    levels = (Level.ERROR, Level.ADVICE) if strict else (Level.ERROR,)
    wrong = [str(finding) for finding in found if finding.level in levels]
    if wrong:
        raise AssertionError("\n".join(wrong))


def _distinct(space: SearchSpace, samples: Sequence[Sample], count: int) -> list[Sample]:
    """The first ``count`` samples that are different networks."""
    found: dict[str, Sample] = {}
    for sample in samples:
        found.setdefault(space.architecture(sample.params).id, sample)
        if len(found) == count:
            break
    return list(found.values())
