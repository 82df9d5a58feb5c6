"""What the commands about predicted costs show."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress

from greennas.calibrate import Calibration
from greennas.cli.display_search import duration
from greennas.cli.terminal import engineering, table
from greennas.energy import format_energy
from greennas.predict import Forecast


def show_forecast(console: Console, forecast: Forecast) -> None:
    """Predicted joules and seconds with their intervals, or what can be said without a device profile."""
    cost = forecast.profile
    console.print(
        f"On paper: {_amount(cost.total_flops, 'FLOPs')} forward, {cost.parameters:,} parameters, "
        f"{_amount(cost.activation_bytes, 'B')} moved, {cost.num_kernels} kernels, depth {cost.depth} "
        f"(input {'x'.join(map(str, cost.input_shape))}, batches of {cost.batch_size})",
        markup=False,
        highlight=False,
    )
    if forecast.device is None:
        console.print(
            f"Physical score: {engineering(forecast.score)}, which ranks networks by the energy of a training "
            "step on one image. This device was never calibrated, so there are no joules: run 'greennas calibrate'.",
            markup=False,
            highlight=False,
        )
        return
    shown = table(f"Predicted for {forecast.device}")
    shown.add_column("")
    for name in ("predicted", "90% interval"):
        shown.add_column(name, justify="right", no_wrap=True)
    epoch = f"training, an epoch of {forecast.images:,} images"
    labels = {
        "train_energy_j": epoch,
        "train_seconds": "  its time",
        "inference_energy_j_per_1k": "inference, 1,000 images",
        "inference_seconds_per_1k": "  its time",
    }
    for name, label in labels.items():
        show = format_energy if "energy" in name else _seconds
        estimate = forecast.predicted[name]
        shown.add_row(label, show(estimate.mean), f"{show(estimate.low)} - {show(estimate.high)}")
    console.print(shown)
    console.print(
        f"Predicted from {forecast.measured} networks of this device's profile, whose joules are {forecast.kind}.",
        markup=False,
    )
    if forecast.outside:
        console.print(
            "This network lies outside of what was measured: take the figures as extrapolated, beyond their intervals."
        )


@contextlib.contextmanager
def counting(what: str, quiet: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """A hook that shows how many of how many are done: a bar on standard error, or lines without a terminal."""
    console = Console(stderr=True, soft_wrap=True)
    if quiet:
        yield lambda done, total, message: None
    elif console.is_terminal:
        with Progress(console=console) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total, message: bar.update(task, completed=done, total=total)
    else:
        yield lambda done, total, message: print(f"{done}/{total} {message}", file=sys.stderr, flush=True)


def show_calibration(console: Console, calibration: Calibration) -> None:
    """How well held-out networks are predicted, and where the profile is."""
    profile = calibration.profile
    shown = table(f"{profile.device}: {len(profile.networks)} networks measured, energy {profile.kind}")
    shown.add_column("held-out networks")
    shown.add_column("median error", justify="right")
    shown.add_column("in 90% interval", justify="right")
    for name, label in _LABELS.items():
        shown.add_row(label, f"{calibration.errors[name]:.1%}", f"{calibration.coverage[name]:.0%}")
    console.print(shown)
    for reason in sorted(set(calibration.failed)):
        console.print(f"Not measured: {reason}", markup=False)
    console.print(
        f"Took {format_energy(calibration.energy_j)} {profile.kind} and {duration(calibration.seconds)}. "
        f"Profile: {calibration.path}",
        markup=False,
    )


def show_rows(console: Console, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str) -> None:
    """Rows of a recipe book: their id and some columns."""
    if not rows:
        console.print(f"{title}: nothing to show.", markup=False)
        return
    shown = table(title)
    name = next((each for each in ("id", "architecture_id", "canonical", "hash") if each in rows[0]), None)
    if name is not None:
        shown.add_column(name, no_wrap=True)
    for column in columns:
        shown.add_column(column, justify="left" if column == "change" else "right", overflow="fold")
    for row in rows:
        cells = [] if name is None else [str(row[name])]
        shown.add_row(*cells, *(_cell(column, row.get(column)) for column in columns))
    console.print(shown)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column.endswith("_share"):
        return f"{value:.1%}"
    if column.endswith(("energy_j", "energy_j_per_1k")):
        return format_energy(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_LABELS = {
    "train_energy_j": "training energy",
    "train_seconds": "training time",
    "inference_energy_j_per_1k": "inference energy",
    "inference_seconds_per_1k": "inference time",
}


def _seconds(value: float) -> str:
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 10 else duration(value)


def _amount(value: float, unit: str) -> str:
    text = engineering(value)
    return f"{text}{unit}" if text[-1].isalpha() else f"{text} {unit}"
