"""The page that compares runs: their fronts in one plot, hypervolumes under one reference, price tags side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from optuna.trial import TrialState

from greennas.energy import format_energy
from greennas.errors import ConfigError, bare_reason
from greennas.files import write_text
from greennas.report.comparison import Comparison, Run, data_of, devices_of, open_runs, space_of
from greennas.report.comparison_plots import fronts_figure, hypervolume_figure
from greennas.report.drawing import drawing, reading
from greennas.report.markup import badge, paragraph, table
from greennas.report.offline import document, figure_html
from greennas.report.tables import metric
from greennas.report.words import NOTHING, component, noun, number, plural
from greennas.results import SearchResult, TrialRecord


def write_comparison(paths: Sequence[Path], out: Path) -> Comparison:
    """Compare the runs in ``paths`` and write the page to ``out``, whole or not at all.

    Raises:
        RunError: a run cannot be read, or the runs have different objectives.
        ConfigError: the file cannot be written.
    """
    comparison = Comparison(open_runs(paths))
    try:
        write_text(out, html(comparison, out.resolve().parent))
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({bare_reason(error)}); choose another --out.") from error
    return comparison


def html(comparison: Comparison, folder: Path | None = None) -> str:
    """The comparison as one HTML page; with the ``folder`` that it will stand in, it links to the runs' own reports."""
    figures = [each for each in (fronts_figure(comparison), hypervolume_figure(comparison)) if each is not None]
    fronts = "\n".join(map(figure_html, figures)) or paragraph("No run has trained a network to its end.")
    sections = [
        ("fronts", "The fronts", fronts),
        ("runs", "The runs side by side", _runs(comparison, folder)),
        ("joint", "The joint front", _joint(comparison)),
        ("price", "What the searches cost", _price(comparison)),
    ]
    introduction = [
        f'<p class="headline">{headline(comparison)}</p>',
        *(paragraph(text, "caveat") for text in caveats(comparison)),
    ]
    title = " against ".join(run.name for run in comparison.runs)
    shown = [(identity, name, content) for identity, name, content in sections if content]
    return document("GreenNAS comparison", title, "\n".join(introduction), shown, figures)


def headline(comparison: Comparison) -> str:
    """Which run came further, and for how many joules, as HTML."""
    found = zip(comparison.hypervolumes, comparison.runs, strict=True)
    if comparison.incomparable:
        names = " and ".join(map(noun, comparison.incomparable))
        return f"These runs do not compare in {escape(names)}: read each front by itself."
    ranked = sorted(((volume, run) for volume, run in found if volume is not None), key=lambda pair: -pair[0])
    if not ranked:
        return "No run has trained a network to its end, so there is nothing to compare yet."
    (most, best), (next_most, next_best) = ranked[:2]
    spent = [_spent_in_words(run.result) for run in (best, next_best)]
    if most == next_most:
        return (
            f"{_name(best)} and {_name(next_best)} reach the same hypervolume, {number(most)}, "
            f"for {spent[0]} and {spent[1]}."
        )
    others = (
        f"{len(ranked) - 1} others, of which {_name(next_best)} comes next" if len(ranked) > 2 else _name(next_best)
    )
    return (
        f"{_name(best)} comes further than {others}: a hypervolume of {number(most)} for {spent[0]}, "
        f"against {number(next_most)} for {spent[1]}."
    )


def caveats(comparison: Comparison) -> list[str]:
    """What keeps the runs from being compared, one sentence of HTML each."""
    found = []
    for each in comparison.differences:
        values = "; ".join(f"{run.name}: {value}" for run, value in zip(comparison.runs, each.values, strict=True))
        sentence = f"The runs differ in their {each.what} ({values}): {each.consequence}."
        found.append(escape(sentence))
    unfinished = [run.name for run in comparison.runs if run.result.count(TrialState.RUNNING)]
    if unfinished:
        found.append(f"Not ended yet: {escape(', '.join(unfinished))}.")
    if not comparison.incomparable:
        found.append(
            "One run each says little about the settings behind it: which one comes further can be chance. Repeat "
            "them with other seeds."
        )
    return found


def _name(run: Run) -> str:
    return f"<strong>{escape(run.name)}</strong>"


def _spent_in_words(result: SearchResult) -> str:
    totals = result.cost.totals().items()
    return " and ".join(f"{format_energy(t.energy_j)} ({kind})" for kind, t in totals if t.energy_j) or "unknown energy"


def _spent(result: SearchResult) -> str:
    """All that a search spent, each kind for itself, as HTML."""
    totals = [f"{escape(format_energy(t.energy_j))}{badge(k)}" for k, t in result.cost.totals().items() if t.energy_j]
    return " and ".join(totals) or "an unknown energy"


def _runs(comparison: Comparison, folder: Path | None) -> str:
    """A row a fact, a column a run."""
    volumes = dict(zip((run.name for run in comparison.runs), comparison.hypervolumes, strict=True))
    differing = {each.what for each in comparison.differences}

    def knee(run: Run, name: str) -> str:
        return metric(name, run.result.knee) if run.result.knee else NOTHING

    facts: list[tuple[str, Callable[[Run], str]]] = [
        ("Hypervolume, one reference for all", lambda run: NOTHING if (v := volumes[run.name]) is None else number(v)),
        *((f"Knee: {noun(name)}", lambda run, name=name: knee(run, name)) for name in _metrics(comparison)),
        ("Best validation accuracy", _best_accuracy),
        ("Trained to the end", lambda run: f"{len(run.result.completed):,}"),
        ("On the front", lambda run: f"{len(run.result.front):,}"),
        ("Spent by the search", lambda run: _spent(run.result)),
        ("Space", lambda run: escape(space_of(run))),
        ("Data", lambda run: escape(data_of(run))),
        ("Sampler", lambda run: escape(run.result.config.sampler)),
        ("Seed", lambda run: str(run.result.config.seed)),
        ("Device", lambda run: escape(devices_of(run))),
        ("Report", lambda run: _link(run, folder)),
    ]
    rows = []
    for name, value in facts:
        mark = ' <span class="mark">differs</span>' if name.lower() in differing else ""
        rows.append([escape(name) + mark, *map(value, comparison.runs)])
    return table("The runs", ["Of the run", *(run.name for run in comparison.runs)], rows)


def _metrics(comparison: Comparison) -> list[str]:
    return [each.metric for each in comparison.objectives]


def _best_accuracy(run: Run) -> str:
    known = [value for trial in run.result.completed if (value := trial.metrics.get("accuracy")) is not None]
    return f"{100 * max(known):.2f}%" if known else NOTHING


def _link(run: Run, folder: Path | None) -> str:
    path = run.result.path
    if folder is None or path is None or not (path / "report.html").is_file():
        return NOTHING
    target = Path(os.path.relpath(path.resolve() / "report.html", folder)).as_posix()
    return f'<a href="{escape(quote(target))}">report.html</a>'


def _joint(comparison: Comparison) -> str:
    """The networks that no network of any run dominates, with their drawings; what several runs found alike, once."""
    if not comparison.joint_front:
        return ""
    counts = [
        f"{sum(of is run for of, _ in comparison.joint_front)} of {len(run.result.front)} of {escape(run.name)}"
        for run in comparison.runs
    ]
    found: dict[tuple[str, str], tuple[TrialRecord, list[str]]] = {}
    for run, trial in comparison.joint_front:
        values = " · ".join(metric(name, trial) for name in run.result.config.metrics)
        of = found.setdefault((trial.architecture_id, values), (trial, []))[1]
        of.append(escape(run.name))
    total = plural(len(found), "network")
    words = paragraph(f"{total} that no network of any of these runs outdoes: {', '.join(counts)}.")
    notes: set[str] = set()
    articles = []
    for (identity, values), (trial, of) in found.items():
        params = trial.architecture.params if trial.architecture else {}
        notes.add(reading(params))
        articles.append(
            f"<article><h3><code>{escape(identity)}</code> of {' and '.join(of)}</h3>\n"
            f'<p class="values">{values}</p>{drawing(params)}</article>'
        )
    notes.discard("")
    return "\n".join(
        [
            words,
            *(paragraph(note, "note") for note in sorted(notes)),
            f'<div class="networks">{"".join(articles)}</div>',
        ]
    )


def _price(comparison: Comparison) -> str:
    """Price tags side by side: a row a phase, component and kind."""
    bills = [
        {(row["phase"], row["component"], row["kind"]): row["energy_j"] for row in run.result.cost.rows()}
        for run in comparison.runs
    ]
    keys = list(dict.fromkeys(key for bill in bills for key in bill))
    rows = []
    for phase, part, kind in keys:
        name = f"{escape(phase.replace('_', ' '))}, {escape(component(part))}{badge(kind)}"
        rows.append([name, *(_joules(bill.get((phase, part, kind))) for bill in bills)])
    totals = [run.result.cost.totals() for run in comparison.runs]
    for kind in dict.fromkeys(kind for total in totals for kind in total):
        cells = [_joules(total[kind].energy_j if kind in total else None) for total in totals]
        rows.append([f"<strong>All that is {escape(kind)}</strong>", *(f"<strong>{cell}</strong>" for cell in cells)])
    prices = [run.result.cost.price() for run in comparison.runs]
    rows.append(
        [
            "E · D · H (Green AI)",
            *(
                NOTHING if price is None else f"{escape(format_energy(price.product_j))}{badge(price.kind)}"
                for price in prices
            ),
        ]
    )
    columns = ["Spent on", *(run.name for run in comparison.runs)]
    bill = table(
        "Energy of the searches, by what it was spent on and by kind", columns, rows, numeric=range(1, len(columns))
    )
    return bill + paragraph("Joules of different kinds are never added.", "note")


def _joules(energy_j: float | None) -> str:
    return NOTHING if energy_j is None else escape(format_energy(energy_j))
