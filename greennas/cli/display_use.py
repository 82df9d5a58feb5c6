"""What the commands show that use what a search has found."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from greennas.cli.display_search import duration, show_bill
from greennas.cli.terminal import table
from greennas.energy import describe_devices, format_energy
from greennas.export.folder import Exported
from greennas.full import Job, Trained
from greennas.full.forecast import Forecast
from greennas.run import device_names


def teller(quiet: bool) -> Callable[[str], None]:
    """Prints sentences on standard error, or nothing."""
    console = Console(stderr=True, soft_wrap=True)
    return (lambda _: None) if quiet else lambda text: console.print(text, markup=False, highlight=False)


def show_forecast(console: Console, job: Job) -> None:
    """What a training to the end will cost, before it begins."""
    whole = job.whole_forecast
    console.print(
        f"{job.architecture_id} is trained for {job.plan.epochs:g} epochs into {job.out}: {_cost(whole)}, "
        f"as the search's own trainings were metered{_elsewhere(job)}.",
        markup=False,
        highlight=False,
    )
    if job.teacher is not None:
        what = "is trained already" if job.teacher.done else f"is trained first, {_cost(job.teacher.forecast)} of that"
        console.print(f"Its teacher {job.teacher.architecture_id} {what}.", markup=False, highlight=False)


def _elsewhere(job: Job) -> str:
    """Where that was, if not here."""
    there, here = device_names(job.run.devices()), device_names(describe_devices())
    return "" if there == here else f" on {there}; this is {here}, where it will differ"


def show_trained(console: Console, done: Trained) -> None:
    """What a training to the end has reached and taken."""
    accuracy = ", ".join(f"{split} accuracy {value:.4f}" for split, value in done.description.accuracy.items())
    lines = [f"{accuracy}, of epoch {done.best.epoch:g}, the best of {done.epochs} in validation."]
    if done.stopped:
        lines.append(f"It ended early: {done.stopped}.")
    if done.forecast.energy_j and done.metered_j is not None:
        lines.append(
            f"Its steps and evaluations took {format_energy(done.metered_j)} {done.forecast.kind}; the forecast was "
            f"{format_energy(done.forecast.energy_j)}."
        )
    for line in lines:
        console.print(line[:1].upper() + line[1:], markup=False, highlight=False)
    show_bill(console, done.bill, "What the training cost")
    console.print(f"Export it: greennas export {done.path} --to DIR", markup=False, highlight=False)


def _cost(forecast: Forecast) -> str:
    time = "in an unknown time" if forecast.seconds is None else f"in about {duration(forecast.seconds)}"
    if forecast.energy_j is None:
        return f"an unknown energy, {time}"
    ends = "no interval, as it was measured once"
    if forecast.low_j is not None:
        ends = f"{format_energy(forecast.low_j)} - {format_energy(forecast.high_j)}"
    return f"about {format_energy(forecast.energy_j)} {forecast.kind} ({ends}) {time}"


def show_export(console: Console, done: Exported) -> None:
    """The files, how they compare with the checkpoint, and how to load them."""
    about = done.description
    accuracy = ", ".join(f"{split} accuracy {value:.4f}" for split, value in about.accuracy.items())
    console.print(f"Exported {about.architecture.id} to {done.path} ({accuracy}).", markup=False, highlight=False)
    rows = table()
    for name in ("format", "largest difference", "same class", "test images"):
        rows.add_column(name, justify="left" if name == "format" else "right")
    for check in done.checks:
        rows.add_row(check.format, f"{check.difference:.2g}", f"{check.agreement:.2%}", f"{check.images:,}")
    console.print(rows)
    console.print("How to load it stands in its README.md.", highlight=False)
