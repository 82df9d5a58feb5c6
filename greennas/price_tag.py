"""A search's bill to read: sentences, tables for Markdown and LaTeX, and the emissions block of a model card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from greennas.carbon import SearchCost, Subtotal
from greennas.energy import Kind, format_energy, format_range
from greennas.errors import ConfigError

_COLUMNS = ("spent on", "component", "kind", "energy", "low - high", "kWh", "hours")
_WHOLE = 0.02
"""Entries and metered total may differ by this share before it is said."""


def sentences(cost: SearchCost) -> Iterator[str]:
    """The totals, the price, the savings, the emissions and what is uncertain about them, one sentence each."""
    totals = cost.totals()
    for kind, total in totals.items():
        if total.energy_j is not None and total.energy_kwh is not None:
            energy = format_energy(total.energy_j)
            same = "" if energy.endswith("kWh") else f" = {total.energy_kwh:.4g} kWh"
            bounds = f" ({_bounds(total)})" if _bounds(total) else ""
            yield f"In all {energy} {kind}{same}{bounds}."
    yield from _reconciled(cost)
    if price := cost.price():
        flops = f" ({price.flops_per_example:.3g} FLOPs)" if price.flops_per_example is not None else ""
        yield (
            f"Green AI: E = {format_energy(price.energy_per_example_j)}{flops} an example, "
            f"D = {price.examples:,.0f} examples a training, H = {price.trials} trainings; "
            f"E x D x H = {format_energy(price.product_j)} "
            f"({price.component}, {price.kind}), and {format_energy(price.metered_j)} were metered: "
            f"{price.ratio:.2f} times as much."
        )
    else:
        yield str(cost.price_reason)
    if cost.saved:
        bounds = f"{format_energy(cost.saved.low_j)} - {format_energy(cost.saved.high_j)}"
        learnt_from = f"{cost.saved.kind}, " if cost.saved.kind else ""
        mean = format_energy(cost.saved.mean_j)
        yield f"Not spent on what was screened out: {mean} ({bounds}), {learnt_from}predicted."
    carbon = cost.carbon()
    if carbon is None:
        yield str(cost.carbon_reason)
    else:
        for kind, value in carbon.items():
            grams = f"{value.carbon_g:.4g} gCO2e ({value.low_g:.4g} - {value.high_g:.4g})"
            yield f"{grams}, {kind}, {_grid(cost)} and a PUE of {cost.pue:g}."
    if missing := totals.get(Kind.UNAVAILABLE):
        yield f"{missing.readings} readings have no energy: the sums leave {missing.seconds:.0f} s out."
    if shared := sum(total.shared for total in totals.values()):
        yield f"{shared} readings are of devices on which something else ran: upper bounds on this search's energy."


def markdown(cost: SearchCost) -> str:
    """The bill as tables and sentences, in Markdown."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "| --- | --- | --- | ---: | ---: | ---: | ---: |"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(cost, "**all {}**")]
    workers = [f"| {' | '.join(row)} |" for row in _worker_rows(cost)]
    if workers:
        lines += ["", "| worker | component | kind | energy | hours |", "| --- | --- | --- | ---: | ---: |", *workers]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in sentences(cost))]) + "\n"


def latex(cost: SearchCost) -> str:
    r"""The bill as a ``table`` for a paper (package ``booktabs``); the sentences are its caption."""
    rows = [" & ".join(map(_escape, row)) + r" \\" for row in _rows(cost, "all {}")]
    parts = len(cost.rows())
    body = [*rows[:parts], r"\midrule", *rows[parts:]]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{Energy of the search. {_escape(' '.join(sentences(cost)))}}}",
            r"\begin{tabular}{lllrrrr}",
            r"\toprule",
            " & ".join(map(_escape, _COLUMNS)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def model_card(cost: SearchCost, hardware: str, spent_on: str = "the whole search") -> str:
    """``co2_eq_emissions`` for the YAML head of a Hugging Face model card.

    See https://huggingface.co/docs/hub/model-cards-co2: emissions in grams, of all that is on the bill. Where its
    joules are of several kinds, the figure is that of the best kind alone; the others stand in ``source``.

    Args:
        cost: the bill, with a grid intensity.
        hardware: what the search ran on.
        spent_on: what the bill is of.

    Raises:
        ConfigError: no grid intensity was given, or there are no joules.
    """
    carbon = cost.carbon()
    if carbon is None:
        raise ConfigError(
            "A model card's emissions need the grid's carbon intensity; give --grid-intensity with a country's code, "
            "as in FRA, or with g/kWh."
        )
    ranked = [kind for kind in (Kind.MEASURED, Kind.SAMPLED, Kind.MODELLED) if kind in carbon]
    if not ranked:
        raise ConfigError("No energy of this search could be read, so it has no emissions; see 'greennas doctor'.")
    first, *others = ranked
    joules = cost.totals()[first].energy_j
    source = f"GreenNAS: {format_energy(joules)} {first} for {spent_on} of {cost.trials} finished trainings, "
    source += f"{_grid(cost)}, PUE {cost.pue:g}"
    for kind in others:
        source += f"; {carbon[kind].carbon_g:.4g} g more are {kind} and not included"
    block: dict[str, Any] = {
        "emissions": float(f"{carbon[first].carbon_g:.4g}"),
        "source": source,
        "training_type": "pre-training",
    }
    if cost.grid_location:
        block["geographical_location"] = cost.grid_location
    block["hardware_used"] = hardware
    return yaml.safe_dump({"co2_eq_emissions": block}, sort_keys=False, allow_unicode=True, width=10_000)


def hardware(devices: Mapping[str, Any], on_gpu: bool) -> str:
    """What a search ran on, in words, from the ``devices`` of its environment.

    Args:
        devices: as ``greennas.energy.describe_devices`` gives them.
        on_gpu: whether it trained on GPUs.
    """
    cpu = devices["cpu"]
    words = f"{cpu['usable_cores']} of {cpu['cores']} cores of {cpu['model']}"
    names = [gpu["name"] for gpu in devices["gpus"]] if on_gpu else []
    counted = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    return ", ".join([*counted, words])


def _reconciled(cost: SearchCost) -> Iterator[str]:
    for each in cost.reconciliation():
        if not each.comparable:
            yield (
                f"The {each.component} was metered over whole sessions at {format_energy(each.metered_j)} {each.kind}; "
                "its entries are of another kind or of several, which do not compare with that."
            )
        if each.ratio is None:
            continue
        why = " (trainings of sessions that were killed have no total)" if each.ratio > 1 + _WHOLE else ""
        yield (
            f"The {each.component} was metered over whole sessions at {format_energy(each.metered_j)} {each.kind}; the "
            f"entries are {each.ratio:.3f} times that{why}: {format_energy(each.own_j)} metered on their own, "
            f"{format_energy(each.derived_j)} as the remainder."
        )


def _rows(cost: SearchCost, total_name: str) -> Iterator[tuple[str, ...]]:
    """Cells of ``_COLUMNS``: the phases, then the totals."""
    parts = [(str(phase).replace("_", " "), each) for phase, group in cost.by_phase().items() for each in group]
    totals = [(total_name.format(kind), total) for kind, total in cost.totals().items()]
    for name, total in [*parts, *totals]:
        kwh = "" if total.energy_kwh is None else f"{total.energy_kwh:.4g}"
        # Components are metered side by side: their hours are not added.
        hours = "" if total.component == "all" else f"{total.seconds / 3600:.3g}"
        yield name, total.component, str(total.kind), format_energy(total.energy_j), _bounds(total), kwh, hours


def _worker_rows(cost: SearchCost) -> Iterator[tuple[str, ...]]:
    for row in cost.worker_rows():
        hours = f"{row['seconds'] / 3600:.3g}"
        yield row["worker"], row["component"], row["kind"], format_energy(row["energy_j"]), hours


def _bounds(total: Subtotal) -> str:
    return "" if total.energy_j is None else format_range(total.low_j, total.high_j)


def _grid(cost: SearchCost) -> str:
    source = f" ({cost.grid_source})" if cost.grid_source else ""
    return f"at {cost.grid_intensity_g_per_kwh:g} g/kWh{source}"


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda match: special.get(match[0], "\\" + match[0]), text)
