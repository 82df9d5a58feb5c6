"""Tensors in safetensors files: written whole or not at all, read with one clear error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from greennas.errors import DataError
from greennas.files import replacing


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write ``tensors`` to ``path``; a reader, or a machine that stops, sees the old file or the whole new one.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    # clones: safetensors refuses tensors that share memory, as tied weights do
    owned = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with replacing(Path(path)) as temporary:
        save_file(owned, temporary, dict(metadata))


def read_tensors(path: str | Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        DataError: there is no such file, or it is not a whole safetensors file.
    """
    if not Path(path).is_file():
        raise DataError(f"There is no file {path}; check the path or make it again.")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is not a whole safetensors file ({error}); make it again.") from error
