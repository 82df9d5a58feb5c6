"""Checks that need a search, or another process: the sampler gets on with the space, workers can load it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence

import optuna

from greennas.errors import ConfigError
from greennas.sampler import GreenSampler
from greennas.space import InputShape, SearchSpace
from greennas.testing.finding import Check, Finding, short
from greennas.testing.sampling import Sample
from greennas.training.plan import TrainingPlan

_TRIALS = 6
_SCRIPT = """
import json, sys
from greennas.space import load_space
task = json.load(sys.stdin)
space = load_space(task["source"], **task["options"])
print(json.dumps([space.architecture(params).id for params in task["params"]]))
"""


def check_suggestions(space: SearchSpace, samples: Sequence[Sample]) -> list[Finding]:
    """Whether ``features`` and ``training``, where the space has them, say what a search can use."""
    check = Check("what the space says beside")
    for sample in samples:
        try:
            features, training = space.features(sample.params), space.training(sample.params)
        except Exception as error:
            check.error(
                f"features or training fails for {short(sample.params)}: {short(error)}.", "Mend it, or leave it out."
            )
            continue
        for name, value in (features or {}).items():
            if not isinstance(name, str) or not isinstance(value, float | int) or not math.isfinite(value):
                check.error(f"features gives {name!r}: {value!r}.", "Return finite numbers by their names.")
        for name, value in training.items():
            if name not in ("batch_size", "learning_rate"):
                check.error(
                    f"training suggests {name!r}, which is no setting that a space may suggest.",
                    "Return batch_size, learning_rate, both or neither.",
                )
                continue
            try:
                TrainingPlan(**{name: value})
            except ConfigError as error:
                check.error(f"What training suggests cannot be used. {error}", f"Return another {name}, or none.")
    said = [name for name in ("features", "training", "size") if callable(getattr(space.module, name, None))]
    return check.findings(", ".join(said) or "nothing, and nothing is needed")


def check_search(space: SearchSpace, shape: InputShape, num_classes: int, seed: int) -> list[Finding]:
    """A short search by the engine's sampler, with accuracies that are made up and nothing trained."""
    check = Check("search")
    sampler = GreenSampler(
        space, ["accuracy", "flops"], input_shape=shape, num_classes=num_classes, seed=seed, initial=3, pool=40
    )
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            for _ in range(_TRIALS):
                trial = study.ask()
                params = space.sample(trial)
                flops = space.profile(params, shape, num_classes).total_flops
                found.append(space.architecture(params).id)
                study.tell(trial, (1 - 1 / (2 + math.log1p(flops)), max(flops, 1.0)))
        except ConfigError as error:
            if not found:
                check.error(f"A search finds nothing to propose: {error}", "Let sample suggest networks.")
        except Exception as error:
            check.error(f"A search fails: {short(error)}.", "Mend what the other findings name.")
    for warning in caught:
        if "cannot be made" in str(warning.message):
            check.error(short(warning.message), "Let sample suggest only what build and profile can make.")
    if len(set(found)) == 1 and not check.failed:
        check.advice("The space has one network, so there is nothing to search.", "Let sample ask what may differ.")
    elif len(set(found)) < len(found):
        check.error(
            f"A search proposed {len(found)} networks, of which only {len(set(found))} are different.",
            "Let the same answers give the same id.",
        )
    return check.findings(f"{len(found)} different proposals by the engine's sampler")


def check_fresh_process(space: SearchSpace, samples: Sequence[Sample]) -> list[Finding]:
    """Whether another process, elsewhere and with another seed of hashes, loads the space and gives the same ids."""
    check = Check("workers")
    task = {
        "source": space.source,
        "options": dict(space.options),
        "params": [sample.params for sample in samples],
    }
    paths = [path for path in (os.environ.get("PYTHONPATH"), *sys.path) if path]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            cwd=elsewhere,
            env=environment,
            check=False,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended"])[-1]
        check.error(
            f"Another process cannot load the space: {short(reason)}.",
            "Import installed packages only, no neighbouring files, and read no files by relative paths.",
        )
    elif json.loads(done.stdout) != [space.architecture(sample.params).id for sample in samples]:
        check.error(
            "Another process gives the same networks other ids.",
            "Let canonical depend on the values of params alone: sort, and use neither hash() nor sets' order.",
        )
    return check.findings("another process loads the space and gives the same ids")
