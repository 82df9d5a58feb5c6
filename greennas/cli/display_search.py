"""What the command line shows: tables, the bill, progress."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from optuna.trial import TrialState
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from greennas import price_tag
from greennas.carbon import SearchCost
from greennas.cli.terminal import engineering as _engineering
from greennas.cli.terminal import table as _table
from greennas.energy import format_energy, format_range
from greennas.energy.doctor import Finding
from greennas.estimate import Forecast
from greennas.log import explained
from greennas.loop import Progress
from greennas.report.words import is_energy
from greennas.results import SearchResult, TrialRecord
from greennas.spending import Spending

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_COLUMNS = {
    "accuracy": "val.\nacc.",
    "train_energy_j": "training\nenergy",
    "inference_energy_j_per_1k": "infer.\n/1,000",
    "latency_ms": "latency",
    "flops": "FLOPs",
    "parameters": "para-\nmeters",
}


_PAIRS_NAMED = 6


@contextlib.contextmanager
def progress(quiet: bool = False, verbose: bool = False) -> Iterator[Callable[[Progress], None]]:
    """A hook that shows a search's progress on standard error: live lines, or plain ones without a terminal.

    Args:
        quiet: show no progress.
        verbose: show what is chosen and why, too.
    """
    console = Console(stderr=True, soft_wrap=True)
    with contextlib.ExitStack() as stack:
        if verbose:
            show = functools.partial(console.print, markup=False, highlight=False)
            stack.enter_context(explained(show))
        with _progress(console, quiet) as hook:
            yield hook


@contextlib.contextmanager
def _progress(console: Console, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:

            def show(state: Progress) -> None:
                if state.message:
                    live.console.print(escape(state.message), highlight=False)
                live.update(Text("\n".join(progress_lines(state))))

            yield show
    else:

        def write(state: Progress) -> None:
            if state.message:
                print(" | ".join([state.message, *progress_lines(state)]), file=sys.stderr, flush=True)

        yield write


def progress_lines(state: Progress) -> list[str]:
    """Two lines: trials and time left; front, hypervolume, joules spent and saved."""
    result = state.result
    done = sum(result.count(each) for each in _ENDED)
    screening = result.screening
    trials = [
        f"{done}/{state.total} trials",
        f"{state.running} running",
        f"{result.count(TrialState.PRUNED)} stopped",
        f"{result.count(TrialState.FAIL)} failed",
        f"{screening.screened} screened out",
    ]
    if state.left_s is not None:
        trials.append(f"about {duration(state.left_s)} left")
    kind = f" ({screening.kind}, predicted)" if screening.screened else " (predicted)"
    saved = "unavailable" if screening.saved_j is None else format_energy(screening.saved_j[0]) + kind
    found = [f"front {len(result.front)}"]
    # Its box is that of all networks so far: with none behind the front it tells nothing.
    if len(result.completed) > len(result.front):
        found.append(f"hypervolume {result.hypervolume:.3f}")
    found += [f"spent {spent(result)}", f"saved {saved}"]
    return [" | ".join(trials), " | ".join(found)]


def spent(result: SearchResult) -> str:
    """Joules of the search so far, one figure a kind."""
    totals = result.cost.totals()
    figures = [
        f"{format_energy(total.energy_j)} {kind}" for kind, total in totals.items() if total.energy_j is not None
    ]
    return " + ".join(figures) or "nothing yet"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_front(console: Console, result: SearchResult) -> None:
    """The front as a table, with the knee marked."""
    if not result.front:
        console.print(f"{result.why_no_front}, so there is no front.")
        return
    tested = any(trial.test for trial in result.front)
    title = f"Pareto front: {' against '.join(str(each) for each in result.config.objectives)}"
    table = _table(title)
    table.add_column("architecture", no_wrap=True)
    names = dict.fromkeys([*result.config.metrics, *_COLUMNS])  # a table's objectives have names of their own
    shown = [name for name in names if any(trial.metrics.get(name) is not None for trial in result.front)]
    for name in shown:
        kinds = {trial.kinds[name] for trial in result.front if name in trial.kinds}
        table.add_column("\n".join([_COLUMNS.get(name, name), *sorted(kinds)]), justify="right", no_wrap=True)
        if name == "accuracy" and tested:
            table.add_column("test\nacc.", justify="right", no_wrap=True)
    for trial in result.front:
        mark = " *" if result.knee is not None and trial.number == result.knee.number else ""
        cells = [trial.architecture_id + mark]
        for name in shown:
            cells.append(metric(trial, name))
            if name == "accuracy" and tested:
                cells.append(f"{trial.test['accuracy']:.4f}" if trial.test else "")
        table.add_row(*cells)
    console.print(table)
    console.print("* the knee")
    show_confirmed(console, result)


def show_confirmed(console: Console, result: SearchResult) -> None:
    """The front's training energies as measured again, and which of them are the same within noise."""
    confirmed = [(trial, trial.confirmed) for trial in result.front if trial.confirmed is not None]
    if not confirmed:
        return
    first = confirmed[0][1]
    table = _table(f"Training energy, measured again in {first.windows} windows each, in turns")
    kinds = "\n".join(sorted({str(each.kind) for _, each in confirmed}))
    searched = {trial.kinds["train_energy_j"] for trial, _ in confirmed if "train_energy_j" in trial.kinds}
    table.add_column("architecture", no_wrap=True)
    table.add_column("\n".join(["in the search", *sorted(searched)]), justify="right", no_wrap=True)
    table.add_column(f"again\n{kinds}", justify="right", no_wrap=True)
    table.add_column(f"{first.confidence:.0%} interval", justify="right", no_wrap=True)
    table.add_column("same\nwithin noise", no_wrap=True)
    for trial, each in confirmed:
        ends = format_range(each.low_j, each.high_j) if each.interval_j else ""
        again = format_energy(each.train_energy_j)
        letters = result.energy_groups.get(trial.number, "")
        table.add_row(trial.architecture_id, metric(trial, "train_energy_j"), again, ends, letters)
    console.print(table)
    if sentence := noise_sentence(result):
        console.print(sentence, markup=False, highlight=False)
    for sentence in outdone_sentences(result):
        console.print(sentence, markup=False, highlight=False)


def noise_sentence(result: SearchResult) -> str:
    """Which pairs of the front are not ranked by energy; empty where there are not two intervals to compare."""
    if len(result.energy_groups) < 2:
        return ""
    pairs = result.same_energy
    if not pairs:
        return "No two of these intervals overlap: the front is ranked by energy."
    named = "; ".join(f"{a.architecture_id} and {b.architecture_id}" for a, b in pairs[:_PAIRS_NAMED])
    more = f"; and {len(pairs) - _PAIRS_NAMED} more pairs" if len(pairs) > _PAIRS_NAMED else ""
    return f"Same energy within noise (their intervals overlap, so they are not ranked by it): {named}{more}."


def outdone_sentences(result: SearchResult) -> list[str]:
    """Which networks of the front would not be on it with the energies as measured again."""
    by_number = {trial.number: trial for trial in result.front}
    return [
        f"Measured again, {by_number[number].architecture_id} is outdone by {other.architecture_id}: "
        "no worse otherwise, for less energy."
        for number, other in result.outdone.items()
    ]


def metric(trial: TrialRecord, name: str) -> str:
    """One metric of a trial to read; the kind of joules stands in the column's head."""
    value = trial.metrics.get(name)
    if value is None:
        return "unavailable"
    if is_energy(name):
        return format_energy(value)
    if name == "latency_ms":
        return f"{value:.2f} ms"
    return f"{value:.4f}" if name == "accuracy" else _engineering(value)


def show_result(console: Console, result: SearchResult) -> None:
    """What a search found and what it cost."""
    show_front(console, result)
    if result.knee is not None:
        console.print(f"Knee: {result.knee.architecture_id}{_knee_sentence(result)}", highlight=False)
    show_bill(console, result.cost)
    for line in _notes(result):
        console.print(line, markup=False)
    done = sum(result.count(each) for each in _ENDED)
    if done < result.config.trials and result.path is not None:
        why, more = _why_fewer(result)
        console.print(
            f"{done} of {result.config.trials} trials were made{why}; "
            f"go on with: greennas search --resume {result.path}{more}",
            markup=False,
        )
    if result.path is not None:
        console.print(f"Report: {result.path / 'report.html'}", markup=False)


def show_status(console: Console, result: SearchResult) -> None:
    """How far a run is."""
    counts = ", ".join(f"{result.count(state)} {state.name}" for state in TrialState if result.count(state))
    screening = result.screening
    console.print(f"Trials: {counts or 'none'} of {result.config.trials}", markup=False)
    console.print(f"Screened out: {screening.screened} (of {screening.considered:,} considered)", markup=False)
    console.print(f"Front: {len(result.front)}, hypervolume {result.hypervolume:.3f}", markup=False)
    console.print(f"Spent: {spent(result)}", markup=False)
    for trial in result.trials:
        if trial.failure:
            console.print(f"Trial {trial.number} failed: {trial.failure}", markup=False)


def show_bill(console: Console, cost: SearchCost, title: str = "What the search itself cost") -> None:
    """Energy by phase, component and kind: the search's own, or that of ``title``."""
    table = _energy_table(title, "spent on")
    for row in cost.rows():
        table.add_row(str(row["phase"]).replace("_", " "), row["component"], row["kind"], *_energies(row))
    table.add_section()
    for kind, total in cost.totals().items():
        table.add_row(
            "all",
            total.component,
            kind,
            *_energies({"energy_j": total.energy_j, "low_j": total.low_j, "high_j": total.high_j}),
        )
    console.print(table)
    for sentence in price_tag.sentences(cost):
        console.print(sentence, markup=False, highlight=False)


def show_workers(console: Console, cost: SearchCost) -> None:
    """The search's own energy by worker."""
    table = _energy_table("By worker", "worker")
    table.add_column("metered", justify="right")
    for row in cost.worker_rows():
        table.add_row(row["worker"], row["component"], row["kind"], *_energies(row), duration(row["seconds"]))
    console.print(table)


def show_estimate(console: Console, forecast: Forecast) -> None:
    """What a search would cost."""
    size = f"{forecast.size:,} architectures" if forecast.size is not None else "size not told by the space"
    console.print(f"Search space {forecast.space}: {size}", markup=False)
    console.print(
        f"Data {forecast.data}: {forecast.train} train, {forecast.validation} validation, {forecast.test} test images",
        markup=False,
    )
    low, mean, high = forecast.energy_j
    console.print(
        f"Expected for {forecast.trials} trials on {forecast.workers} workers: {format_energy(mean)} {forecast.kind} "
        f"({format_energy(low)} to {format_energy(high)}), {duration(forecast.seconds[1])} "
        f"({duration(forecast.seconds[0])} to {duration(forecast.seconds[2])}).",
        markup=False,
    )
    console.print(
        f"Extrapolated from energy probes of {forecast.probed} networks from the cheapest to the dearest of a sample; "
        f"the probes took {format_energy(forecast.probe_j)} {forecast.kind}. Nothing was written.",
        markup=False,
    )


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """What ``greennas doctor`` found."""
    for finding in findings:
        kind = f" [{finding.kind}]" if finding.kind else ""
        console.print(f"{finding.status:>8}  {finding.counter}{kind}: {finding.message}", markup=False)
        if finding.resolution:
            console.print(f"          resolves {finding.resolution}", markup=False)
        if finding.command:
            console.print(f"          {finding.command}", markup=False)


def _why_fewer(result: SearchResult) -> tuple[str, str]:
    """Where no further training fits into the energy budget: that, and the option that changes it."""
    budget_j, spending = result.config.energy_budget_j, Spending(result)
    if budget_j is None or spending.with_another_j <= budget_j:
        return "", ""
    spent = f"{format_energy(spending.spent_j)} of the energy budget of {format_energy(budget_j)} are spent"
    return f", since {spent} and another training does not fit", " --energy-budget JOULES"


def _knee_sentence(result: SearchResult) -> str:
    """How the knee compares with the first objective's best."""
    best, knee = result.front[0], result.knee
    first, second = result.config.metrics[:2]
    if knee is None or knee.number == best.number:
        return ""
    a, b = best.metrics[second], knee.metrics[second]
    p, q = best.metrics[first], knee.metrics[first]
    if a is None or b is None or p is None or q is None or first != "accuracy":
        return ""
    if result.config.objectives[1].direction == "max" or not 0 <= b <= a or a == 0:  # less of it is not the point
        return ""
    if second == "train_energy_j" and any(
        {x.number, y.number} == {best.number, knee.number} for x, y in result.same_energy
    ):
        return f": the same training energy within noise as the most accurate one, {best.architecture_id}"
    kind = f" ({knee.kinds[second]})" if second in knee.kinds else ""
    cost = _COLUMNS.get(second, second).replace("\n", " ")
    return (
        f": {1 - b / a:.0%} less {cost}{kind} than the most accurate one, "
        f"for {100 * (p - q):.2f} points of validation accuracy"
    )


def _notes(result: SearchResult) -> Iterator[str]:
    if result.data.get("skipped"):
        yield f"{result.data['skipped']:,} rows of the table are left out; the first: {result.data['skipped_because']}"
    screening = result.screening
    if screening.screened:
        yield f"Screened out: {screening.screened} networks of {screening.considered:,} considered."
    if screening.energy_error is not None and screening.coverage is not None:
        yield (
            f"Energy predictions were off by {screening.energy_error:.1%} (median); {screening.coverage:.0%} of the "
            "energies lay in their 90% interval."
        )
    for trial in result.trials:
        if trial.failure:
            yield f"Trial {trial.number} failed: {trial.failure}"


def _energy_table(title: str, of: str) -> Table:
    """A table whose rows are energies: what they are of, component, kind, joules with their bounds."""
    table = _table(title)
    for name in (of, "component", "kind"):
        table.add_column(name)
    for name in ("energy", "low - high"):
        table.add_column(name, justify="right")
    return table


def _energies(row: Mapping[str, Any]) -> tuple[str, str]:
    if row["energy_j"] is None:
        return "unavailable", ""
    return format_energy(row["energy_j"]), format_range(row["low_j"], row["high_j"])
