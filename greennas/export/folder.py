"""A trained network as a folder that stands alone, checked before it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from greennas.carbon import priced
from greennas.errors import ConfigError, ExportError, bare_reason
from greennas.export.card import model_card
from greennas.export.description import ModelDescription
from greennas.export.formats import exported_program, write_onnx, write_pt2
from greennas.export.pretrained import save_pretrained
from greennas.export.python import python_code
from greennas.export.source import Source, data_of, open_source
from greennas.export.verify import Check, verify
from greennas.files import write_text

FORMATS = ("pytorch", "python", "pt2", "onnx")


@dataclass(frozen=True)
class Exported:
    """A model folder that was written.

    Attributes:
        path: the folder.
        description: of its network.
        checks: one a format.
    """

    path: Path
    description: ModelDescription
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return {
            "path": str(self.path),
            "files": sorted(file.name for file in self.path.iterdir()),
            "architecture_id": self.description.architecture.id,
            "accuracy": dict(self.description.accuracy),
            "checks": [check.to_json() for check in self.checks],
        }


def export_model(
    source: str | Path,
    to: str | Path,
    *,
    pick: str | None = None,
    formats: Sequence[str] = ("all",),
    data_dir: Path | None = None,
    grid_intensity: str | float | None = None,
    pue: float | None = None,
) -> Exported:
    """Write a network as a folder that stands alone; nothing is left behind if a file is not the same network.

    There are always ``model.safetensors``, ``architecture.json`` and the model card ``README.md``.

    Args:
        source: run folder, checkpoint, or model folder.
        to: the new folder.
        pick: of a run folder, as for ``greennas.pick.pick``; default: the knee.
        formats: of ``pytorch`` (those files alone), ``python`` (``model.py``), ``pt2`` and ``onnx``; or ``all``.
        data_dir: folder of the data set's published files, for the check; default: where they lay in the search.
        grid_intensity: country or g/kWh for the card's emissions; default: as in the search.
        pue: power usage effectiveness, likewise.

    Raises:
        ConfigError: there is no such format.
        ExportError: the folder exists, or the network cannot be written or is another one once it is loaded again.
        GreenNASError: the source or its data cannot be had.
    """
    wanted = chosen_formats(formats)
    with new_folder(Path(to)) as folder:
        found = open_source(source, pick)
        if found.bill is not None:
            found = replace(found, bill=priced(found.bill, grid_intensity, pue))
        dataset = data_of(found.description, data_dir or found.data_dir)
        files = _Files(found, folder)
        for form in wanted:
            files.write(form)
        checks = verify(found.network, dataset, folder, wanted)
        write_text(folder / "README.md", model_card(found, checks))
    return Exported(Path(to), found.description, tuple(checks))


def chosen_formats(formats: Sequence[str]) -> list[str]:
    """The formats in their order, ``all`` spelt out; ``pytorch`` is always among them.

    Raises:
        ConfigError: one is unknown.
    """
    names = {name.strip() for each in formats for name in each.split(",")}
    if unknown := names - {*FORMATS, "all"}:
        raise ConfigError(f"There is no format {min(unknown)!r}; choose all or some of {', '.join(FORMATS)}.")
    return [form for form in FORMATS if form == "pytorch" or form in names or "all" in names]


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary neighbour to fill; it becomes ``path`` if the block ends well, and vanishes otherwise.

    Raises:
        ExportError: something is there already, or it cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ExportError(f"{path} exists already; choose another --to.")
    target = path.absolute()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise ExportError(
            f"The folder {path} cannot be written ({bare_reason(error)}); choose another --to."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Files:
    """Writes the formats of one network; the exported program is made once."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._network = source.network
        self._about = source.description
        self._folder = folder

    def write(self, form: str) -> None:
        if form == "pytorch":
            save_pretrained(self._network, self._folder, self._about)
        elif form == "python":
            write_text(self._folder / "model.py", python_code(self._network, self._about))
        elif form == "pt2":
            write_pt2(self._program, self._folder / "model.pt2")
        else:
            write_onnx(self._program, self._folder / "model.onnx")

    @cached_property
    def _program(self) -> ExportedProgram:
        return exported_program(self._network, self._about.input_shape)
