"""The page: sections, style, script and the plotting library in one file that asks the network for nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from optuna.trial import TrialState

from greennas.energy import format_energy, format_range
from greennas.files import write_text
from greennas.report.bill import bill
from greennas.report.cell import described
from greennas.report.drawing import drawing, reading
from greennas.report.headline import caveats, headline, network, tested
from greennas.report.learning_plots import hypervolume_by_energy, hypervolume_by_trial, prediction_figure
from greennas.report.markup import badge, details, paragraph, table
from greennas.report.offline import document, figure_html, trace_switch
from greennas.report.parallel import parallel_coordinates
from greennas.report.pareto_plot import INTERVALS, pareto_figure
from greennas.report.plots import Figure
from greennas.report.tables import confirmed_table, front_table, metric, trials_table
from greennas.report.words import interval, label, number, plural
from greennas.results import SearchResult, TrialRecord
from greennas.run import RunFolder


def write_report(result: SearchResult, path: Path) -> None:
    """Write the report on ``result`` to ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    write_text(path, html(result))


def html(result: SearchResult) -> str:
    """The report as one HTML page of about 1.5 MB, most of it the plotting library. Equal results give equal pages."""
    pareto = pareto_figure(result)
    learning = [
        figure
        for figure in (prediction_figure(result), hypervolume_by_trial(result), hypervolume_by_energy(result))
        if figure
    ]
    figures = [*([pareto] if pareto else []), *learning]
    sections = [
        ("front", "Pareto front", _front(result, pareto)),
        ("networks", "The networks", _networks(result)),
        ("numbers", "In numbers", _numbers(result)),
        ("parallel", "What sets them apart", parallel_coordinates(result)),
        ("learning", "How the search did", _learning(learning)),
        ("bill", "What it cost", bill(result)),
        ("trials", "All trials", _trials(result)),
        ("use", "Use a network", _use(result)),
        ("again", "Run it again", _again(result)),
    ]
    sections = [(identity, title, content) for identity, title, content in sections if content]
    introduction = [
        f'<p class="headline">{headline(result)}</p>',
        f'<div class="opening">\n<div>{_knee(result)}</div>\n<div>{_caveats(result)}</div>\n</div>',
    ]
    return document("GreenNAS search", _title(result), "\n".join(introduction), sections, figures)


def _title(result: SearchResult) -> str:
    space = result.config.space
    return (
        f"{Path(space).stem if space.endswith('.py') else space} on {result.data.get('name', result.config.data.name)}"
    )


def _caveats(result: SearchResult) -> str:
    return "\n".join(paragraph(text, "caveat") for text in caveats(result))


def _knee(result: SearchResult) -> str:
    trial = result.knee
    if trial is None or len(result.front) < 2:
        return ""
    values = ", ".join(
        f"{escape(label(name).lower() if label(name) != 'FLOPs' else 'FLOPs')} {metric(name, trial)}"
        for name in result.config.metrics
    )
    sentence = f"The knee, the front's best compromise, is {network(trial)}: {values}."
    return paragraph(f"{tested(result)} {sentence}".strip(), "knee")


def _tiles(result: SearchResult) -> str:
    """The search in a few figures."""
    found = result.screening
    tiles = [
        ("Trained to the end", f"{len(result.completed):,}", f"{len(result.front)} on the front"),
        ("Stopped early", f"{result.count(TrialState.PRUNED):,}", "at a rung")
        if result.count(TrialState.PRUNED)
        else None,
        ("Failed", f"{result.count(TrialState.FAIL):,}", "reasons under All trials")
        if result.count(TrialState.FAIL)
        else None,
        ("Hypervolume", number(result.hypervolume), "of 1, against the worst + 10%") if result.completed else None,
        *(
            (
                f"Spent by the search{badge(kind)}",
                escape(format_energy(total.energy_j)),
                format_range(total.low_j, total.high_j, " to "),
            )
            for kind, total in result.cost.totals().items()
            if total.energy_j is not None
        ),
        (
            f"Saved by screening, predicted{badge(found.kind)}",
            escape(format_energy(found.saved_j[0])),
            f"{interval(*found.saved_j[1:])}; {plural(found.screened, 'network')} not trained",
        )
        if found.screened and found.saved_j is not None
        else None,
    ]
    return "\n".join(
        f"<div><dt>{tile[0]}</dt><dd>{tile[1]}{f'<small>{tile[2]}</small>' if tile[2] else ''}</dd></div>"
        for tile in tiles
        if tile
    )


def _front(result: SearchResult, pareto: Figure | None) -> str:
    tiles = f'<dl class="tiles">\n{_tiles(result)}\n</dl>'
    if pareto is None:
        return paragraph("Nothing to draw: no training has run to its end with all objectives known.") + tiles
    walk = (
        '<div class="walk" role="group" aria-label="Walk along the front" hidden>'
        '<button type="button" value="-1">\N{LEFTWARDS ARROW} Previous</button>'
        '<button type="button" value="1">Next \N{RIGHTWARDS ARROW}</button>'
        "<output>Walk along the front</output></div>"
    )
    return figure_html(pareto, controls=(walk if result.front else "") + trace_switch(pareto, INTERVALS)) + tiles


def _numbers(result: SearchResult) -> str:
    return "\n".join(filter(None, [front_table(result), confirmed_table(result)])) if result.front else ""


def _trials(result: SearchResult) -> str:
    if not result.trials:
        return paragraph("No trial has been begun.")
    states = [(TrialState.COMPLETE, "trained"), (TrialState.PRUNED, "stopped early"), (TrialState.FAIL, "failed")]
    counts = [f"{result.count(state)} {word}" for state, word in states if result.count(state)]
    interrupted = sum(trial.interrupted for trial in result.trials)
    if interrupted:
        counts.append(f"{interrupted} interrupted")
    return details(
        f"{plural(len(result.trials), 'trial')}{': ' if counts else ''}{', '.join(counts)}", trials_table(result)
    )


def _learning(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    drawn = f'<div class="trio">{"".join(map(figure_html, figures))}</div>'
    if any(figure.name == "prediction" for figure in figures):
        return drawn
    why = "Predicted against metered energy is not drawn: no network whose energy was predicted beforehand"
    return drawn + paragraph(f"{why} has been trained to the end.", "note")


def _networks(result: SearchResult) -> str:
    if not result.front:
        return ""
    words = {reading(trial.architecture.params) for trial in result.front if trial.architecture} - {""}
    largest = _largest(result)
    articles = "\n".join(_network(trial, result, largest) for trial in result.front)
    return "\n".join([*(paragraph(text, "note") for text in sorted(words)), f'<div class="networks">{articles}</div>'])


def _network(trial: TrialRecord, result: SearchResult, largest: Mapping[str, float]) -> str:
    name = trial.architecture_id or f"trial {trial.number}"
    mark = ' <span class="mark">knee</span>' if trial is result.knee else ""
    values = " · ".join(metric(each, trial) for each in result.config.metrics)
    head = f'<h3><code>{escape(name)}</code>{mark}</h3>\n<p class="values">{values}</p>'
    command = _command("export", trial, result, "--to model")
    return (
        f'<article id="network-{trial.number}" data-network="{trial.number}">{head}\n'
        f"{_parameters(trial, largest)}{command}</article>"
    )


def _largest(result: SearchResult) -> dict[str, float]:
    """The largest value of each parameter that is a positive number, over all trained networks."""
    found: dict[str, float] = {}
    for trial in result.completed:
        for name, value in (trial.architecture.params if trial.architecture else {}).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found[name] = max(found.get(name, 0.0), value)
    return {name: value for name, value in found.items() if value > 0}


def _parameters(trial: TrialRecord, largest: Mapping[str, float]) -> str:
    architecture = trial.architecture
    if architecture is None:
        return paragraph("Its parameters are not known: the trial was added from elsewhere.")
    params = architecture.params
    picture = drawing(params)
    facts = [*described(params), *((f"option {k}", str(v)) for k, v in architecture.options.items())]
    rows = []
    for name, value in facts:
        row = [escape(name), f"<code>{escape(value)}</code>"]
        if not picture:
            share = max(params[name], 0) / largest[name] if name in largest and name in params else 0
            row.append(f'<span class="bar" style="width:{100 * share:.1f}%"></span>' if share else "")
        rows.append(row)
    columns = ["Parameter", "Value", *([] if picture else ["Of the largest one trained"])]
    parameters = table(f"Parameters of {architecture.id}", columns, rows)
    return f"{picture}\n{details('As a table', parameters)}" if picture else parameters


def _use(result: SearchResult) -> str:
    """The commands that take a network out of the run, for the knee."""
    trial = result.knee
    if trial is None or not _usable(result):
        return ""
    return "\n".join(
        [
            paragraph("Write the knee with its weights as a folder that stands alone (PyTorch, ONNX, a model card):"),
            _command("export", trial, result, "--to model"),
            paragraph("Train it to the end first; the command says beforehand what that will cost:"),
            _command("train", trial, result),
        ]
    )


def _usable(result: SearchResult) -> bool:
    """Whether there are networks to take out of the run: a replayed table has none."""
    return result.path is not None and result.config.table is None


def _command(name: str, trial: TrialRecord, result: SearchResult, more: str = "") -> str:
    """A command on a network of the run, to be copied."""
    if not _usable(result) or not trial.architecture_id:
        return ""
    return _copied(
        f"greennas {name} {shlex.quote(str(result.path))} --pick {shlex.quote(trial.architecture_id)} {more}"
    )


def _copied(command: str) -> str:
    return f'<div class="copy"><pre class="command" tabindex="0"><code>{escape(command.strip())}</code></pre></div>'


def _again(result: SearchResult) -> str:
    data = result.data
    facts = [("Seed", str(result.config.seed)), ("Objectives", ", ".join(map(str, result.config.objectives)))]
    facts += [
        (str(name).replace("_", " ").capitalize(), _fact(value))
        for name, value in data.items()
        if value not in ([], None)
    ]
    if result.path is not None:
        facts.append(("Run folder", str(result.path)))
    rows = [(escape(name), escape(value)) for name, value in facts]
    parts = [*_search_again(result), table("Seed, objectives and data", ["Fact", "Value"], rows)]
    config, environment = result.config.to_yaml(), ""
    if result.path is not None:
        run = RunFolder(result.path)
        config = _text(run.config_file) or config
        environment = _text(run.environment_file)
    parts.append(details("config.yaml", f"<pre>{escape(config)}</pre>"))
    if environment:
        parts.append(details("environment.json", f"<pre>{escape(environment)}</pre>"))
    else:
        parts.append(paragraph("The environment was not recorded: there is no environment.json.", "note"))
    return "\n".join(parts)


def _search_again(result: SearchResult) -> list[str]:
    """The command that repeats the search in a new folder, with other words where its settings were kept."""
    if result.path is None:
        return []
    path = result.path
    again = f"greennas search --config {shlex.quote(str(path / 'config.yaml'))}"
    return [
        paragraph("The same search in a new folder, with the same seed:"),
        _copied(f"{again} --out {shlex.quote(f'{path}-again')}"),
    ]


def _fact(value: object) -> str:
    if isinstance(value, (list, tuple)):
        numbers = all(isinstance(item, (int, float)) for item in value)
        return (" \N{MULTIPLICATION SIGN} " if numbers else "; ").join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _text(path: Path) -> str:
    """Content of a file; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
