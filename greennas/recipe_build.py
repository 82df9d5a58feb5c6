"""Build a recipe book: every architecture of a space with its costs on paper and its predicted energy on a device.

The work is cut into parts, each written whole to a folder beside the file, so that a build that was stopped goes on.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greennas.architecture import Params
from greennas.device_profile import DeviceProfile
from greennas.errors import ConfigError, DataError, RunError, bare_reason
from greennas.executors.local import without_main_module
from greennas.files import check_file, replacing, write_text
from greennas.machine import usable_cores
from greennas.predict import PER_EPOCH, physical_scores
from greennas.space import InputShape, SearchSpace, load_space

PART = 2_000
"""Architectures of a part."""
_TEXTS = ("id", "canonical", "space", "options", "params")


@dataclass(frozen=True)
class BuildSettings:
    """What a recipe book is of.

    Attributes:
        space: name or file of the search space.
        options: its options.
        input_shape: channels, height, width.
        classes: number of classes.
        batch_size: of the training.
        images: images of an epoch, for which training is predicted.
    """

    space: str
    options: dict[str, Any]
    input_shape: InputShape = (3, 32, 32)
    classes: int = 10
    batch_size: int = 64
    images: int = 50_000

    def load(self) -> SearchSpace:
        """The search space."""
        return load_space(self.space, **self.options)


def build(
    settings: BuildSettings,
    out: Path,
    device: DeviceProfile | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> int:
    """Write a table with a row for each different architecture of a space; one that was stopped goes on.

    Columns: id, canonical, space, options, params (JSON), flops, parameters, activation_bytes, weight_bytes, kernels,
    depth, physical_score; and with a device profile predicted_train_energy_j and predicted_train_seconds of an epoch,
    predicted_inference_energy_j_per_1k and predicted_inference_seconds_per_1k, each with _low and _high (90%), and
    outside, 1 where the costs lie outside of those of the measured networks.

    Args:
        settings: what it is of.
        out: the file, .parquet (needs pyarrow) or .csv.
        device: what energy is predicted from.
        workers: processes; None for one a core.
        on_progress: called with the number of parts done, of all parts, and a message.

    Returns:
        Number of rows.

    Raises:
        GreenNASError: another format, a space that cannot list its architectures, or parts of other settings.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{out} is neither .csv nor .parquet; choose one of these formats.")
    if out.suffix == ".parquet":
        _pyarrow()
    check_file(out)
    space = settings.load()
    if not hasattr(space, "architectures"):
        raise ConfigError(
            f"The search space {space.name} does not list its architectures; a table can be built of those that have a "
            "function architectures, such as nasbench101."
        )
    folder = out.with_name(f".{out.name}.parts")
    _claim(folder, settings, device)
    total = space.size
    parts = -(-total // PART) if total else 0
    rows = 0
    workers = workers or usable_cores()
    pending = {}
    with (
        without_main_module(),
        ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(settings, device)) as pool,
    ):
        finished = 0
        for number, chunk in enumerate(_chunks(space.architectures())):
            rows += len(chunk)
            path = folder / f"{number:06d}.csv"
            if path.exists():
                finished += 1
                on_progress(finished, max(parts, finished), f"part {number} was there")
                continue
            pending[pool.submit(_write_part, chunk, path)] = number
            if len(pending) >= 4 * workers:  # so that a large space is not held in memory
                finished += _collect(pending, finished, parts, on_progress, 2 * workers)
        _collect(pending, finished, parts, on_progress, 0)
    _join(sorted(folder.glob("*.csv")), out)
    shutil.rmtree(folder)
    return rows


def _chunks(architectures: Iterator[Params]) -> Iterator[list[Params]]:
    while chunk := list(itertools.islice(architectures, PART)):
        yield chunk


def _collect(
    pending: dict[Any, int], finished: int, parts: int, report: Callable[[int, int, str], None], left: int
) -> int:
    """Wait until no more than ``left`` parts are being made; how many were finished."""
    count = 0
    for future in as_completed(list(pending)):
        future.result()
        number = pending.pop(future)
        count += 1
        report(finished + count, max(parts, finished + count), f"part {number}")
        if len(pending) <= left:
            break
    return count


def _claim(folder: Path, settings: BuildSettings, device: DeviceProfile | None) -> None:
    """Make the folder of parts, or check that the one that is there is of the same settings."""
    about = {
        "space": settings.space,
        "options": settings.options,
        "input_shape": list(settings.input_shape),
        "classes": settings.classes,
        "batch_size": settings.batch_size,
        "images": settings.images,
        "device": None if device is None else [device.device, device.about.get("made")],
    }
    file = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            write_text(file, json.dumps(about))
        elif json.loads(file.read_text()) != about:
            raise RunError(
                f"{folder} holds parts of a build with other settings or another device profile; delete it or choose "
                "another file."
            )
    except (OSError, ValueError) as error:
        raise RunError(
            f"The folder {folder} cannot be used ({bare_reason(error)}); delete it or choose another file."
        ) from error


_worker: tuple[BuildSettings, SearchSpace, DeviceProfile | None] | None = None


def _begin(settings: BuildSettings, device: DeviceProfile | None) -> None:
    """Make a worker process ready; one thread each, since there is one for each core."""
    global _worker
    torch.set_num_threads(1)
    if device is not None:
        _ = device.predictors
    _worker = settings, settings.load(), device


def _write_part(chunk: Sequence[Params], path: Path) -> None:
    assert _worker is not None
    columns = table_columns(chunk, *_worker)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def table_columns(
    chunk: Sequence[Params], settings: BuildSettings, space: SearchSpace, device: DeviceProfile | None
) -> dict[str, list[Any]]:
    """The columns of a table with a row for each of ``chunk``."""
    found = [space.architecture(params) for params in chunk]
    costs = [space.profile(params, settings.input_shape, settings.classes, settings.batch_size) for params in chunk]
    columns: dict[str, list[Any]] = {
        "id": [each.id for each in found],
        "canonical": [each.canonical for each in found],
        "space": [settings.space] * len(chunk),
        "options": [json.dumps(dict(space.options))] * len(chunk),
        "params": [json.dumps(dict(params), separators=(",", ":")) for params in chunk],
        "flops": [cost.total_flops for cost in costs],
        "parameters": [cost.parameters for cost in costs],
        "activation_bytes": [cost.activation_bytes for cost in costs],
        "weight_bytes": [cost.weight_bytes for cost in costs],
        "kernels": [cost.num_kernels for cost in costs],
        "depth": [cost.depth for cost in costs],
        "physical_score": physical_scores(costs, device),
    }
    outside = np.zeros(len(chunk), dtype=bool)
    for name, predictor in (device.predictors if device else {}).items():
        predicted = predictor.predict(costs)
        factor = settings.images if name in PER_EPOCH else 1
        for end, values in (("", predicted.mean_j), ("_low", predicted.low_j), ("_high", predicted.high_j)):
            columns[f"predicted_{name}{end}"] = [f"{value:.6g}" for value in factor * np.asarray(values)]
        outside |= predicted.outside
    if device is not None:
        columns["outside"] = outside.astype(int).tolist()
    return columns


def _join(parts: Sequence[Path], out: Path) -> None:
    """All parts as one file, written whole or not at all."""
    try:
        with replacing(out) as temporary:
            if out.suffix == ".parquet":
                _join_parquet(parts, temporary)
                return
            with temporary.open("wb") as file:
                for number, part in enumerate(parts):
                    with part.open("rb") as source:
                        header = source.readline()
                        if number == 0:
                            file.write(header)
                        shutil.copyfileobj(source, file)
    except OSError as error:
        raise DataError(f"The table {out} cannot be written ({bare_reason(error)}); choose another place.") from error


def _join_parquet(parts: Sequence[Path], path: Path) -> None:
    pyarrow = _pyarrow()
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    types = {name: pyarrow.string() for name in _TEXTS}
    writer = None
    for part in parts:
        header = next(csv.reader([part.open(encoding="utf-8").readline()]))
        known = {name: types.get(name, pyarrow.float64()) for name in header}
        table = arrow_csv.read_csv(part, convert_options=arrow_csv.ConvertOptions(column_types=known))
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise DataError("Parquet needs pyarrow: pip install 'greennas[tables]', or choose a .csv file.") from error
    return pyarrow
