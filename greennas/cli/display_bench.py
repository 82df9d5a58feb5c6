"""What the benchmarks of inference show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from greennas.cli.terminal import engineering, table
from greennas.energy import Kind, format_energy
from greennas.energy.units import common_unit
from greennas.inference.classification_report import InferenceReport, InferenceRow
from greennas.inference.environment import did_not_run, place
from greennas.inference.generation_report import GenerationReport, GenerationRow
from greennas.inference.windows import Figure


def show_generation(console: Console, report: GenerationReport) -> None:
    """A row for each way to generate text; what is the same for all of them stands above."""
    rows = report.rows
    ways = {
        "model": [row.setting.model for row in rows],
        "dtype": [row.setting.dtype for row in rows],
        "KV\ncache": ["on" if row.setting.kv_cache else "off" for row in rows],
        "batch": [str(row.setting.batch_size) for row in rows],
        "prompt": [str(row.setting.prompt_tokens) for row in rows],
        "output": [str(row.setting.output_tokens) for row in rows],
        "energy": [_source(row.kind, row.component) for row in rows],
    }
    varied = {name: cells for name, cells in ways.items() if len(set(cells)) > 1}
    same = [f"{name.replace(chr(10), ' ')} {cells[0]}" for name, cells in ways.items() if name not in varied]
    shown = table(f"Text generation: {', '.join(same)}")
    for name in varied:
        shown.add_column(name, no_wrap=True, justify="left" if name in ("model", "dtype", "energy") else "right")
    unit, per_j = common_unit(row.token_j.value for row in rows if row.token_j)
    energies = [f"{unit}\n{what}" for what in ("/token", "/response")]
    costs = [*energies, "±", "ratio", f"prefill\n{unit}/token", f"decode\n{unit}/token"]
    for name in (*costs, "first\nms", "next\nms", "tokens\n/s"):
        shown.add_column(name, justify="right", no_wrap=True)
    for position, row in enumerate(rows):
        shown.add_row(*(cells[position] for cells in varied.values()), *_generation_cells(row, per_j))
    _print_whole(console, shown)
    for name, facts in report.models.items():
        sizes = ", ".join(f"{engineering(size)}B {dtype}" for dtype, size in facts["weight_bytes"].items())
        weights = "random weights" if facts["random"] else "its weights"
        console.print(
            f"{name}: {engineering(facts['parameters'])} parameters, {weights}, {sizes}", markup=False, highlight=False
        )
    plan = report.plan
    _sentences(
        console,
        [
            f"{unit}/token: energy of a response by its output tokens; {_windows([row.windows for row in rows])} "
            f"windows of {plan.window_s:g} s or more each, in turns; ± half of the {plan.confidence:.0%} interval; "
            "ratio: to the first row, turn by turn.",
            *_kind_notes((row.kind, row.shared) for row in rows),
            *report.notes,
            _where(report.environment),
        ],
    )
    show_unavailable(console, report.unavailable)


def show_inference(console: Console, report: InferenceReport) -> None:
    """A row for each variant, a section for each batch size; what is the same for all of them stands above."""
    rows = report.rows
    unit, per_j = common_unit(row.image_j.value for row in rows if row.image_j)
    ways = {
        "batch": [str(row.batch_size) for row in rows],
        "network": [row.variant.model for row in rows],
        "compressed": [row.variant.compression for row in rows],
        "runtime": [row.variant.runtime for row in rows],
        "precision": [row.variant.precision for row in rows],
        "energy": [_source(row.kind, row.component) for row in rows],
    }
    varied = {name: cells for name, cells in ways.items() if len(set(cells)) > 1}
    same = [f"{name} {cells[0]}" for name, cells in ways.items() if name not in varied]
    shown = table(f"Inference{': ' if same else ''}{', '.join(same)}")
    for name in varied:
        shown.add_column(name, no_wrap=True, justify="right" if name == "batch" else "left")
    split = {"validation": "val.", "test": "test"}[report.split]
    for name in (
        f"{split}\nacc.",
        "same\nclass",
        f"{unit}\n/image",
        "±",
        "ratio",
        "images\n/s",
        "p50\nms",
        "p99\nms",
        "",
    ):
        shown.add_column(name, justify="right", no_wrap=True)
    fronts = {size: report.front(size) for size in {row.batch_size for row in rows}}
    for position, row in enumerate(rows):
        if position and row.batch_size != rows[position - 1].batch_size:
            shown.add_section()
        mark = "*" if row in fronts[row.batch_size] else ""
        shown.add_row(*(cells[position] for cells in varied.values()), *_inference_cells(report, row, per_j), mark)
    _print_whole(console, shown)
    plan = report.plan
    _sentences(
        console,
        [
            "* on the front of accuracy and energy an image at its batch size, by the means; what differs by less than "
            "the intervals is not ranked",
            f"{_windows([row.windows for row in rows])} windows of {plan.window_s:g} s or more each, in turns; "
            f"± half of the {plan.confidence:.0%} interval; ratio: to {report.facts[0].variant} at the same batch "
            "size, turn by turn; same class: share of images classified as by the network as it is, in eager float32.",
            *_kind_notes((row.kind, row.shared) for row in rows),
            *report.notes,
            _where(report.environment),
        ],
    )
    _show_preparations(console, report)
    show_unavailable(console, report.unavailable)


def show_unavailable(console: Console, unavailable: Sequence[tuple[str, str]]) -> None:
    """What did not run here, and why."""
    _sentences(console, did_not_run(unavailable))


def _show_preparations(console: Console, report: InferenceReport) -> None:
    if not report.preparations:
        return
    shown = table("What making the variants took, once")
    for name, justify in (("", "left"), ("kind", "left"), ("energy", "right"), ("time", "right")):
        shown.add_column(name, justify=justify)  # type: ignore[arg-type]
    for each in report.preparations:
        reading = each.reading
        what = f"{each.what}; {each.note}" if each.note else each.what
        shown.add_row(what, str(reading.kind), format_energy(reading.energy_j), f"{reading.seconds:.1f} s")
    _print_whole(console, shown)


def _inference_cells(report: InferenceReport, row: InferenceRow, per_j: float) -> list[str]:
    facts = report.facts_of(row.variant)
    return [
        "" if facts.accuracy is None else f"{facts.accuracy:.4f}",
        "" if facts.agreement is None else f"{facts.agreement:.4f}",
        _energy(row.image_j, per_j),
        _spread(row.image_j),
        _ratio(row.ratio),
        engineering(row.images_per_s),
        _number(row.latency_p50_ms),
        _number(row.latency_p99_ms),
    ]


def _generation_cells(row: GenerationRow, per_j: float) -> list[str]:
    return [
        _energy(row.token_j, per_j),
        _energy(row.response_j, per_j),
        _spread(row.token_j),
        _ratio(row.ratio),
        _energy(row.prefill_token_j, per_j),
        _energy(row.decode_token_j, per_j),
        _number(row.first_token_ms),
        _number(row.token_ms),
        engineering(row.tokens_per_s),
    ]


def _print_whole(console: Console, shown: Table) -> None:
    """Print a table whole, also where the terminal is narrower than it."""
    needed = Measurement.get(console, console.options.update(width=1000), shown).maximum
    Console(file=console.file, width=max(console.width, needed)).print(shown)


def _energy(figure: Figure | None, per_j: float) -> str:
    return "unavailable" if figure is None else _number(figure.value * per_j)


def _ratio(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.value:.2f}" if figure.value >= 0.1 else f"{figure.value:.1g}"


def _spread(figure: Figure | None) -> str:
    if figure is None or not figure.value:
        return ""
    return f"{(figure.high - figure.low) / 2 / figure.value:.0%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _source(kind: Kind, component: str) -> str:
    return f"{kind} ({component})"


def _windows(counts: Sequence[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low} to {high}"


def _kind_notes(kinds: Iterable[tuple[Kind, bool]]) -> Iterable[str]:
    found = list(kinds)
    if any(kind is Kind.MODELLED for kind, _ in found):
        yield "modelled energy is CPU time times watts a core: it says nothing that CPU time does not say."
    if any(shared for _, shared in found):
        yield "Something else ran on the device meanwhile: measured joules are upper bounds."


def _where(environment: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return f"On {place(environment)}, {versions}."


def _sentences(console: Console, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)
