"""Checks of ``sample`` and ``canonical``: what they return, and whether it is always the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution

from greennas.architecture import Architecture
from greennas.errors import SpaceError
from greennas.sampler.candidates import ReplayTrial
from greennas.space import SearchSpace
from greennas.testing.finding import Check, Finding, short


@dataclass(frozen=True)
class Sample:
    """What ``sample`` returned, and what it had asked for.

    Attributes:
        params: returned parameters.
        suggestions: answers by the names of the questions.
        distributions: what each answer could have been.
    """

    params: dict[str, Any]
    suggestions: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]


def check_samples(space: SearchSpace, count: int, seed: int) -> tuple[list[Sample], list[Finding]]:
    """Sample ``count`` times as Optuna does; the samples that came, and what is wrong with them."""
    check = Check("sampling")
    drawn: list[Sample] = []
    known: dict[str, BaseDistribution] = {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(count):
        trial = study.ask()
        try:
            params = space.sample(trial)
        except Exception as error:
            check.error(f"sample(trial) raises {short(error)}.", _remedy(error))
            continue
        finally:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        sample = Sample(params, trial.params, trial.distributions)
        for name, distribution in sample.distributions.items():
            if known.setdefault(name, distribution) != distribution:
                check.error(
                    f"The question {name!r} is asked with {short(known[name])} and with {short(distribution)}.",
                    "Ask under another name where the choices differ, as in f'kernel of {depth}'.",
                )
        if _is_json(params, check):
            drawn.append(sample)
    for sample in drawn:
        _repeated(space, sample, check)
    return drawn, check.findings(f"{count} samples, {len(known)} questions, all with JSON parameters, all repeatable")


def check_ids(space: SearchSpace, samples: Sequence[Sample]) -> list[Finding]:
    """Whether ids are there, survive JSON, do not depend on the order of parameters, and fit ``size``."""
    check = Check("ids")
    try:
        size = space.size
    except SpaceError as error:
        size = None
        check.error(short(str(error)), "Mend size().")
    ids: set[str] = set()
    for sample in samples:
        try:
            architecture = space.architecture(sample.params)
            again = space.architecture(json.loads(json.dumps(dict(reversed(sample.params.items())))))
            read = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
        except Exception as error:
            check.error(
                f"canonical fails for {short(sample.params)}: {short(error)}.",
                "Let canonical(params) return a string for everything that sample returns, also once read from JSON.",
            )
            continue
        if not architecture.id == again.id == read.id == space.architecture(sample.params).id:
            check.error(
                f"The id of {short(sample.params)} changes from call to call, with the order of the parameters or "
                "once they were read from JSON.",
                "Let canonical depend on the values of params alone: sort, and use neither hash() nor sets' order.",
            )
        ids.add(architecture.id)
    questions = any(
        len(set(d.choices)) > 1 if hasattr(d, "choices") else not d.single() for d in _distributions(samples)
    )
    if len(ids) == 1 and len(samples) > 1 and questions and size != 1:
        check.error(
            f"All {len(samples)} samples have the same id.",
            "Let canonical differ for different networks, and sample return what it was answered.",
        )
    if size is not None and len(ids) > size:
        check.error(
            f"size() says {size:,} networks, but the samples already have {len(ids):,} different ids.",
            "Correct size(), or let canonical be equal for parameters that are the same network.",
        )
    return check.findings(f"{len(ids)} different networks in {len(samples)} samples, ids stable")


def _repeated(space: SearchSpace, sample: Sample, check: Check) -> None:
    """The same answers have to give the same parameters, also by the stand-in for Optuna's trial."""
    replay = ReplayTrial(np.random.default_rng(0), [sample.suggestions])
    try:
        again = space.sample(replay)
    except Exception as error:
        check.error(f"sample(trial) raises {short(error)} in a search.", _remedy(error))
        return
    if again != sample.params or replay.params != sample.suggestions:
        check.error(
            f"The same answers gave {short(sample.params)} and then {short(again)}.",
            "Draw nothing at random in sample and keep no state there: let it depend on the answers alone.",
        )


def _is_json(params: Mapping[str, Any], check: Check) -> bool:
    try:
        same = bool(json.loads(json.dumps(params, allow_nan=False)) == params)
    except (TypeError, ValueError):
        same = False
    if not same:
        check.error(
            f"sample returns {short(params)}, which JSON does not keep as it is.",
            "Return numbers, text, booleans, None, lists and dictionaries with text as keys; no tuples, no tensors.",
        )
    return same


def _remedy(error: Exception) -> str:
    if "dynamic value space" in str(error):
        return "Ask under another name where the choices differ: one name has one list of choices."
    if isinstance(error, AttributeError) and "ReplayTrial" in str(error):
        return "Use nothing of the trial but suggest_categorical, suggest_int and suggest_float."
    return "Mend sample; it gets a trial with suggest_categorical, suggest_int and suggest_float."


def _distributions(samples: Sequence[Sample]) -> list[BaseDistribution]:
    return [distribution for sample in samples for distribution in sample.distributions.values()]
