"""What the search itself cost: joules by what they were spent on, never added over kinds."""

from __future__ import annotations

from html import escape

from greennas.energy import format_energy
from greennas.report.markup import badge, details, paragraph, table
from greennas.report.words import KIND_MEANINGS, NOTHING, component, duration, interval, number, plural
from greennas.results import SearchResult


def bill(result: SearchResult) -> str:
    """The bill, as HTML."""
    cost = result.cost
    if not cost.entries:
        return paragraph("No energy has been metered.")
    largest: dict[tuple[str, str], float] = {}
    for row in cost.rows():
        key = row["component"], row["kind"]
        largest[key] = max(largest.get(key, 0.0), row["energy_j"] or 0.0)
    rows = []
    for row in cost.rows():
        most = largest[row["component"], row["kind"]]
        share = 100 * (row["energy_j"] or 0.0) / most if most else 0.0
        rows.append(
            [
                escape(row["phase"].replace("_", " ")),
                escape(component(row["component"])),
                _energy(row["energy_j"], row["kind"]),
                f'<span class="bar" style="width:{share:.1f}%"></span>',
                interval(row["low_j"], row["high_j"]),
                duration(row["seconds"]),
            ]
        )
    for kind, total in cost.totals().items():
        name = f"All that is {kind}" if total.energy_j is not None else "Not metered"
        rows.append(
            [
                f"<strong>{escape(name)}</strong>",
                escape(component(total.component)),
                f"<strong>{_energy(total.energy_j, kind)}</strong>",
                "",
                interval(total.low_j, total.high_j),
                duration(total.seconds),
            ]
        )
    columns = ["Spent on", "Component", "Energy", "Share within its kind", "Low to high", "Metered time"]
    parts = [table("Energy of the search, by what it was spent on and by kind", columns, rows, numeric=(2, 4, 5))]
    kinds = [str(kind) for kind in cost.totals()]
    meanings = "".join(f"<div><dt>{badge(k)}</dt><dd>{escape(KIND_MEANINGS[k])}</dd></div>" for k in cost.totals())
    parts.append(f'<dl class="kinds">{meanings}</dl>')
    if len(kinds) > 1:
        parts.append(paragraph("Joules of different kinds are never added.", "note"))
    shared = sum(total.shared for total in cost.totals().values())
    if shared:
        parts.append(
            paragraph(f"During {plural(shared, 'reading')} something else ran on the device: upper bounds.", "note")
        )
    return "\n".join([*parts, _workers(result), _reconciled(result), _price(result), _saved(result), _carbon(result)])


def _workers(result: SearchResult) -> str:
    rows = [
        [
            escape(row["worker"]),
            escape(component(row["component"])),
            _energy(row["energy_j"], row["kind"]),
            interval(row["low_j"], row["high_j"]),
            duration(row["seconds"]),
        ]
        for row in result.cost.worker_rows()
    ]
    columns = ["Worker", "Component", "Energy", "Low to high", "Metered time"]
    return details("By worker", table("Energy of the search by worker", columns, rows, numeric=(2, 3, 4)))


def _reconciled(result: SearchResult) -> str:
    """The entries against the meters that ran over whole sessions."""
    rows = [
        [
            f"{escape(component(each.component))}{badge(each.kind)}",
            escape(format_energy(each.metered_j)),
            escape(format_energy(each.own_j)),
            escape(format_energy(each.derived_j)),
            NOTHING if each.ratio is None else f"{each.ratio:.3f}",
        ]
        for each in result.cost.reconciliation()
    ]
    if not rows:
        return ""
    columns = ["Component", "Metered over whole sessions", "Entries of their own", "Remainder", "Entries over metered"]
    return table("Does the bill add up?", columns, rows, numeric=range(1, 5))


def _price(result: SearchResult) -> str:
    cost = result.cost
    price = cost.price()
    if price is None:
        return paragraph(escape(cost.price_reason or ""), "note")
    flops = f"{number(price.flops_per_example)} FLOPs" if price.flops_per_example is not None else ""
    cells = (
        ("E", "one example, once in training", _energy(price.energy_per_example_j, price.kind), flops),
        ("D", "examples shown in a training", f"{number(price.examples)}", ""),
        ("H", "trainings that ran to their end", f"{price.trials:,}", ""),
        (
            "E · D · H",
            f"the {component(price.component)}'s share in these trainings",
            _energy(price.product_j, price.kind),
            "",
        ),
        (
            "Metered",
            f"all that the {component(price.component)} took",
            _energy(price.metered_j, price.kind),
            f"{price.ratio:.2f} times E · D · H",
        ),
    )
    tiles = "".join(
        f"<div><dt><strong>{escape(name)}</strong> {escape(meaning)}</dt><dd>{value}"
        f"{f'<small>{escape(more)}</small>' if more else ''}</dd></div>"
        for name, meaning, value, more in cells
    )
    source = paragraph("Schwartz, Dodge, Smith and Etzioni, Green AI, Communications of the ACM 63(12), 2020.", "note")
    return f'<h3>The price in Green AI\'s terms</h3>\n<dl class="tiles">{tiles}</dl>\n{source}'


def _saved(result: SearchResult) -> str:
    found = result.screening
    heading = "<h3>What screening saved</h3>\n"
    if not found.screened:
        return heading + paragraph("Nothing was screened out, so nothing was saved.")
    if found.saved_j is None:
        text = f"{plural(found.screened, 'network was', 'networks were')} screened out; what that saved cannot be said "
        return heading + paragraph(text + "in joules, as the energy of no training is known.")
    mean, low, high = found.saved_j
    text = (
        f"Of {found.considered:,} candidates considered, {plural(found.screened, 'network was', 'networks were')} on a "
        f"shortlist and never trained. Training them would have taken <strong>{_energy(mean, found.kind)}</strong> "
        f"({interval(low, high)}), <strong>predicted</strong>."
    )
    note = "The interval adds up the ends of the 90% intervals, as if all errors had the same sign."
    return heading + paragraph(text) + paragraph(note, "note")


def _carbon(result: SearchResult) -> str:
    cost = result.cost
    carbon = cost.carbon()
    if carbon is None:
        return paragraph(escape(cost.carbon_reason or ""), "note")
    if not carbon:
        return ""
    source = f" ({cost.grid_source})" if cost.grid_source else ""
    basis = f"at {cost.grid_intensity_g_per_kwh:g} g/kWh{source} and a power usage effectiveness of {cost.pue:g}"
    rows = [
        [
            escape(f"Energy that is {kind}"),
            f"{number(value.carbon_g)} gCO<sub>2</sub>e{badge(kind)}",
            f"{number(value.low_g)} to {number(value.high_g)}" if value.low_g != value.high_g else NOTHING,
        ]
        for kind, value in carbon.items()
    ]
    return "<h3>Emissions</h3>\n" + table(f"gCO2e, {basis}", ["Of", "Emissions", "Low to high"], rows, numeric=(1, 2))


def _energy(joules: float | None, kind: str) -> str:
    return badge(kind) if joules is None else f'<span class="value">{escape(format_energy(joules))}{badge(kind)}</span>'
