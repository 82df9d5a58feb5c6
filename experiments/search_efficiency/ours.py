"""GreenSampler on a problem: as it is, and with a part of it taken away."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from peers import Method
from problem import Recorder

from greennas.executors.tabular import PROBE_NOISE, PROBE_SHARE
from greennas.sampler import Candidate, GreenSampler, Probe


def green(
    run: Recorder, probed: int | None = None, sampler: type[GreenSampler] = GreenSampler, **options: object
) -> None:
    """GreenSampler with a probe of the shortlist; ``probed`` 0 for none."""

    def probe(candidates: Sequence[Candidate]) -> list[Probe]:
        count = len(candidates) if probed is None else probed
        found = [
            Probe(run.probe(candidate.architecture.params, PROBE_NOISE, PROBE_SHARE))
            for candidate in candidates[:count]
        ]
        return found + [Probe() for _ in candidates[count:]]

    strategy = sampler(
        run.problem.space,
        seed=run.seed,
        batch_size=run.problem.batch_size,
        probe=None if probed == 0 else probe,
        **options,  # type: ignore[arg-type]
    )
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=strategy)
    for _ in range(2 * run.trials):
        trial = study.ask()
        study.tell(trial, run.train(run.problem.space.sample(trial)))


OURS: dict[str, Method] = {
    "GreenNAS": green,
    "GreenNAS, no probe": lambda run: green(run, probed=0),
}
