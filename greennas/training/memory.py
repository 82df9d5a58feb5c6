"""Memory: kept between steps, and the same work on fewer images at once where it is short."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable
from typing import TypeVar

import torch

LEAST_IMAGES = 8
"""Batches are not halved below so many images: batch norm's statistics of fewer are noise."""
_WORDS = ("can't allocate memory", "out of memory", "not enough memory", "cannot allocate memory", "alloc_failed")
"""Of PyTorch on a CPU, of CUDA, of the C library, of cuDNN and cuBLAS."""
_Done = TypeVar("_Done")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a CPU or a GPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
    )


def fitted(work: Callable[[int], _Done], images: int, device: torch.device) -> tuple[_Done, int]:
    """What ``work`` gives on ``images`` at once or, where memory runs out, on half, a quarter, ... of them.

    Args:
        work: can be begun again after it failed.
        images: to try first.
        device: where it works.

    Returns:
        Its result, and how many images fitted.

    Raises:
        RuntimeError: as raised with ``LEAST_IMAGES`` to twice as many; MemoryError likewise.
    """
    while True:
        try:
            return work(images), images
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or images < 2 * LEAST_IMAGES:
                raise
        images = (images + 1) // 2  # only here is the error gone, with the tensors that its frames hold
        if device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def keep_freed_memory() -> None:
    """Have the C library reuse large blocks: given back, they come again page by page, zeroed, at every step.

    The numbers are mallopt(3)'s: M_MMAP_THRESHOLD and M_TRIM_THRESHOLD. Other C libraries than glibc have no such call.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        c_library = ctypes.CDLL(None)
        for option in (-3, -1):
            c_library.mallopt(option, 1 << 30)
